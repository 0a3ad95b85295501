"""Prove and measure the pack on a GPU, part by part: ``make gpu``.

Each part is a process of its own with its own limit, and all end within eight minutes. ``artefacts/gpu/summary.md`` is
written after each part; at the end everything that was found goes into one archive. Parts can be named:
``make gpu PARTS="parity sampling-512"``. ``make gpu REHEARSE=1`` runs each part tiny, on a CPU too.
"""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import torch
from bench import FOLDER, ON_GPU, environment, write_tables

REPOSITORY = FOLDER.parent
BUDGET = 480.0  # seconds for all parts
REHEARSAL_LIMIT = 1800.0  # seconds for each part on a CPU
# Numbers to hold against float32 vectors: no tensor cores' TF32, and no half precision.
EXACT = {"NVIDIA_TF32_OVERRIDE": "0", "COMFYUI_FLAGS": "--fp32-unet --fp32-vae"}


@dataclass(frozen=True)
class Part:
    """command: for Python. limit: seconds it may take. tiny: in its place in a rehearsal; None: not rehearsed."""

    name: str
    command: str
    limit: float
    tiny: str | None
    exact: bool = False


TINY = "--rounds 1 --sizes 64x64"
# In the order of what matters most, each alone, since most of them are timings.
ALONE = (
    Part("parity", "-m support.parity", 70, "-m support.parity", exact=True),
    Part("layers", "-m support.layer_parity", 60, "-m pytest -q {tests}/test_layer_parity.py"),
    Part("sampling-512", "sampling.py --sizes 512x640 --rounds 3", 100, f"sampling.py {TINY} --batches 1 2 --steps 2"),
    Part("http", "over_http.py default", 75, "over_http.py default --tiny"),
    Part("image", "image.py", 45, f"image.py {TINY}"),
    Part("sampling-768", "sampling.py --sizes 768x960 --batches 1 4 --rounds 2", 70, None),
    Part("memory", "memory.py", 60, "memory.py --size 64x64"),
    Part("growth", "growth.py --rounds 2", 70, "growth.py --rounds 1 --tiny"),
)
# What is no timing, all at once.
TOGETHER = (
    Part(
        "tests",
        "-m pytest -q -x {tests} --ignore {tests}/test_faults.py",
        120,
        "-m pytest -q -x {tests}/test_costs.py",
        exact=True,
    ),
    Part("http-otherwise", "over_http.py no-dynamic novram fp8 bf16", 120, "over_http.py no-dynamic --tiny"),
    Part(
        "compiled",
        "sampling.py --compiled --sizes 256x320 --batches 1 --rounds 1",
        110,
        f"sampling.py --attention pytorch --compiled {TINY} --batches 1 --steps 1",
    ),
)
# Last, since they take the card's memory away from everything else.
AT_THE_EDGE = (Part("edge", "over_http.py edge edge-no-dynamic", 75, "over_http.py edge --tiny"),)


class Session:
    """Runs parts, and writes down what each of them found. folder: where it goes."""

    def __init__(self, folder: Path, rehearse: bool) -> None:
        self.folder, self.rehearse = folder, rehearse
        self.start = time.monotonic()
        self.failed: list[str] = []
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.summary = folder / "summary.md"
        self.summary.write_text(f"# {'Rehearsal on a CPU' if rehearse else 'On a GPU'}\n\n{self._machine()}\n")

    def run(self, part: Part) -> None:
        left = BUDGET - (time.monotonic() - self.start)
        limit = REHEARSAL_LIMIT if self.rehearse else min(part.limit, left)
        command = part.tiny if self.rehearse else part.command
        if command is None or limit < 5:
            self._say(f"{part.name}: not run, " + ("too large for a CPU" if command is None else "no time was left"))
            return
        log, began = self.folder / "logs" / f"{part.name}.log", time.monotonic()
        with log.open("w") as output:
            status = _run(self._arguments(command), limit, output, self._environment(part))
        self._say(f"{part.name}: {status}, {time.monotonic() - began:.0f} s")
        told = [line for line in log.read_text(errors="replace").splitlines() if _tells(line)]
        self._say("\n".join(line[:200] for line in told[-40:]))
        if status != "ok":
            self.failed.append(part.name)

    def pack(self) -> Path:
        """Put logs, results and images into one archive."""
        archive = self.folder.with_suffix(".tar.gz")
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(self.folder, self.folder.name)
            if not self.rehearse:
                tar.add(FOLDER / "results", "results")
        return archive

    def _arguments(self, command: str) -> list[str]:
        words = shlex.split(command.format(tests=REPOSITORY / "tests" / "comfyui"))
        script = [] if words[0] == "-m" else [str(FOLDER / words.pop(0))]
        return [sys.executable, "-u", *script, *words]

    def _environment(self, part: Part) -> dict[str, str]:
        apart = {"BENCHMARK_RESULTS": str(self.folder / "results"), "BENCHMARK_NARROW": "1"}
        results = apart if self.rehearse else {}
        own = {"HF_HUB_OFFLINE": "1", "GPU_IMAGES": str(self.folder / "images")}
        return environment() | own | results | (EXACT if part.exact else {})

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:4.0f} s] {text}", flush=True)
        with self.summary.open("a") as file:
            file.write(f"\n{text}\n")

    def _machine(self) -> str:
        if not torch.cuda.is_available():
            return f"torch {torch.__version__}"
        query = [
            "nvidia-smi",
            "--query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem",
            "--format=csv,noheader",
        ]
        try:
            card = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            card = torch.cuda.get_device_name()
        return f"{card}; torch {torch.__version__}, CUDA {torch.version.cuda}"


OWN_GROUP = os.name == "posix"
RUNNING: set[subprocess.Popen[bytes]] = set()


def _run(command: list[str], limit: float, output: IO[str], environment: dict[str, str]) -> str:
    """Run a command for at most ``limit`` seconds; with it ends whatever it started, a ComfyUI for instance."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=OWN_GROUP
    )
    RUNNING.add(process)
    try:
        status = process.wait(limit)
        return "ok" if status == 0 else f"failed with status {status}"
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait()
        RUNNING.discard(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if OWN_GROUP:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _stop(*_: object) -> NoReturn:
    """End with everything that runs: a part is in a group of its own, which a signal to this process does not reach."""
    for process in list(RUNNING):
        _kill(process)  # without waiting, since the lines that this signal interrupted may do so already
    sys.exit("Stopped.")


def _tells(line: str) -> bool:
    return line.startswith(("| ", "  ", "Error", "E ")) or " passed" in line or " failed" in line


def main() -> None:
    parts = {part.name: part for part in (*ALONE, *TOGETHER, *AT_THE_EDGE)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="run each part tiny, on a CPU too")
    parser.add_argument("parts", nargs="*", metavar="part", choices=[[], *parts], default=[])
    given = parser.parse_args()
    if not (given.rehearse or ON_GPU):
        sys.exit("PyTorch sees no GPU here. `make gpu REHEARSE=1` runs each part tiny on the CPU.")
    signal.signal(signal.SIGTERM, _stop)
    chosen = given.parts or list(parts)
    session = Session(REPOSITORY / "artefacts" / ("gpu-rehearsal" if given.rehearse else "gpu"), given.rehearse)
    together = [part for part in TOGETHER if part.name in chosen]
    for part in ALONE:
        if part.name in chosen:
            session.run(part)
    with ThreadPoolExecutor(1 if given.rehearse else len(TOGETHER)) as pool:
        list(pool.map(session.run, together))
    for part in AT_THE_EDGE:
        if part.name in chosen:
            session.run(part)
    if not given.rehearse:
        write_tables()
    print(f"Everything is in {session.pack()}.")
    sys.exit(f"These parts failed: {', '.join(session.failed)}" if session.failed else None)


if __name__ == "__main__":
    main()
