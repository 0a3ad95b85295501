"""Every measurement of speed and memory, and what the measurements share: the clock, a row, and the files of rows.

``python benchmarks/bench.py [part …]``; without a part, all. Each part is a process of its own, saves each row as soon
as it is known, and replaces only its own rows. At the end ``results/tables.md`` is made of everything that is there.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Measurement, Timer

FOLDER = Path(__file__).resolve().parent
RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or FOLDER / "results")
ACCELERATOR = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
DEVICE = ACCELERATOR.type if ACCELERATOR else "cpu"
ON_GPU = DEVICE != "cpu"
ROUNDS = 5 if ON_GPU else 3
VISIT_SECONDS = 0.2  # of one model's turn at the least; on a CPU one step takes longer

# part → (script with its arguments, what it answers)
PARTS = {
    "sampling": ("sampling.py", "How long is a step: plain SD1.5, these nodes, the official pipeline?"),
    "attention-pytorch": ("sampling.py --attention pytorch", "The same with PyTorch's, the default on a GPU."),
    "attention-split": ("sampling.py --attention split", "The same with ComfyUI's split attention."),
    "compiled": ("sampling.py --attention pytorch --compiled --sizes 256x320", "The same behind TorchCompileModel."),
    "schedules": ("sampling.py --schedules", "Does a strength that changes along the sampling cost anything?"),
    "image": ("image.py", "How long are 50 steps with everything that is done once per garment?"),
    "growth": ("growth.py", "How does a step grow with garments, their size, the batch and the image's size?"),
    "memory": ("memory.py", "How much memory does a garment take, at the peak of sampling and between runs?"),
    "loading": ("loading.py", "How long does the checkpoint take to load, against reading its bytes?"),
    "flops": ("sampling.py --flops", "How much arithmetic does a garment add?"),
    "metrics": ("metrics.py", "How fast is the evaluation?"),
    "training": ("training.py", "What does a training step cost against the official loop's?"),
    "catalogue": ("catalogue.py", "How many images do two workers of a Ray cluster make, against one?"),
}
HEAD = "| what | it takes | the other takes | ratio | of medians | goal |\n| --- | --- | --- | --- | --- | --- |"
TITLE = """# Results

Made by `make bench`. A ratio is the second column over the third, each the fastest of several taken in turn, since \
whatever else a machine does only adds; beside it the ratio of their medians."""
NO_GPU = "## On a GPU\n\nNot measured yet: `make gpu` on a machine with a GPU adds the same tables."


@dataclass(frozen=True)
class Row:
    """One finding: ``value``, in ``unit``, against ``base``; or by itself.

    goal: what it should be, for the reader. medians: where value and base are the fastest of several, the ratio of
    their medians.
    """

    name: str
    value: float
    unit: str
    base: float | None = None
    goal: str = ""
    medians: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.base is None else round(self.value / self.base, 3)

    def markdown(self) -> str:
        base, ratio = ("", "") if self.base is None else (f"{self.base:.4g} {self.unit}", f"{self.ratio:.2f}")
        medians = "" if self.medians is None else f"{self.medians:.2f}"
        return f"| {self.name} | {self.value:.4g} {self.unit} | {base} | {ratio} | {medians} | {self.goal} |"


def clock(work: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> Timer:
    """Return PyTorch's timer for ``work``: it waits for the GPU where there is one. before: runs ahead, untimed."""
    given = {"work": work, "before": before}
    return Timer("work()", "before()", globals=given, num_threads=torch.get_num_threads())


def in_turn(visits: Mapping[str, Callable[[], Measurement]], rounds: int = ROUNDS) -> dict[str, Measurement]:
    """Return what the visits measure, A B C A B C …, so that a busy machine slows all alike."""
    found: dict[str, list[Measurement]] = {name: [] for name in visits}
    for _ in range(rounds):
        for name, visit in visits.items():
            found[name].append(visit())
    return {name: Measurement.merge(measured)[0] for name, measured in found.items()}


def fastest(measured: Measurement) -> float:
    return min(measured.times)


def against(name: str, value: Measurement, base: Measurement, goal: str = "") -> Row:
    medians = round(value.median / base.median, 3)
    return Row(name, fastest(value), "s", fastest(base), goal, medians)


def save(part: str, rows: Iterable[Row]) -> None:
    """Write each row as it comes into ``results/<part>_<device>.json``, in place of one of its name."""
    path = RESULTS / f"{part}_{DEVICE}.json"
    RESULTS.mkdir(parents=True, exist_ok=True)
    for row in rows:
        found = [old for old in load(path) if old.name != row.name] + [row]
        content = {
            "machine": machine(),
            "command": f"python benchmarks/bench.py {part}",
            "ratios": [asdict(r) | {"ratio": r.ratio} for r in found if r.base is not None],
            "figures": [asdict(r) for r in found if r.base is None],
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(row.markdown(), flush=True)


def load(path: Path) -> list[Row]:
    content: Any = json.loads(path.read_text()) if path.exists() else {"ratios": (), "figures": ()}
    return [Row(**{f.name: entry[f.name] for f in fields(Row)}) for entry in (*content["ratios"], *content["figures"])]


def machine() -> str:
    """Return what a number depends on: processor, card, driver, allocator, versions, and ComfyUI's flags."""
    from support.comfyui_release import comfyui_path, comfyui_version_of

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else DEVICE if ON_GPU else "no GPU"
    if shutil.which("nvidia-smi") and torch.cuda.is_available():
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        gpu += f", driver {driver[0] if driver else 'unknown'}, allocator {torch.cuda.get_allocator_backend()}"
    flags = os.environ.get("COMFYUI_FLAGS", "")
    return (
        f"{_cpu_name()}, threads: {torch.get_num_threads()}, {gpu}; Python {platform.python_version()}, torch "
        f"{torch.__version__}, ComfyUI {comfyui_version_of(comfyui_path())}" + (f" {flags.strip()}" if flags else "")
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def tables() -> str:
    paths = sorted(RESULTS.glob("*_*.json"))
    text = [TITLE]
    for path in paths:
        content = json.loads(path.read_text())
        rows = "\n".join(row.markdown() for row in load(path))
        text.append(f"## {path.stem}\n\n`{content['command']}` on {content['machine']}.\n\n{HEAD}\n{rows}")
    measured_on_gpu = any(not path.stem.endswith("_cpu") for path in paths)
    return "\n\n".join(text + ([] if measured_on_gpu else [NO_GPU])) + "\n"


def write_tables() -> None:
    (RESULTS / "tables.md").write_text(tables())


def environment() -> dict[str, str]:
    """Return this process's, where what tests and scripts share can be imported too."""
    shared = [str(FOLDER.parent / name) for name in ("tests", "scripts")]
    given = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return os.environ | {"PYTHONPATH": os.pathsep.join([*shared, *given])}


def run(command: str) -> bool:
    """Run a part in a process of its own."""
    print(f"\n{command}", flush=True)
    script, *arguments = command.split()
    command_line = [sys.executable, FOLDER / script, *arguments]
    return subprocess.run(command_line, env=environment(), check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"{part:18} {question}" for part, (_, question) in PARTS.items())
    parser.add_argument("parts", nargs="*", metavar="part", choices=[[], *PARTS], default=[])
    failed = [part for part in parser.parse_args().parts or PARTS if not run(PARTS[part][0])]
    write_tables()
    sys.exit(f"These parts failed: {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main()
