"""Hostile input for every reader, for as long as is asked: ``make fuzz SECONDS=600``, or ``--runs 10000``.

Each reader gets it twice in processes of their own: from hypothesis' choices, and from Atheris, which looks for input
that reaches code not yet reached. A process that dies, a failure that is no refusal, anything that ``watch`` forbids,
or memory beyond the limit ends the run with status 1. hypothesis shrinks what failed and prints it; what Atheris found
is kept in ``artefacts/fuzz``, from where hypothesis shrinks it at the next run.
"""

import argparse
import codecs
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "fuzz.json"
FOUND = REPOSITORY / "artefacts" / "fuzz"
GUIDED_SHARE = 4  # one guided input, slow since its way through the code is traced, for so many of hypothesis'
BATCH = 500  # inputs between two looks at the clock
MEMORY_MEGABYTES = 256  # more than the largest tensor of a checkpoint, in float32, twice
ROOM_BYTES = 2 * 2**30  # of addresses, on top of what Python and PyTorch have taken
QUIET: dict[str, Any] = {"deadline": None, "suppress_health_check": [*HealthCheck]}


@contextmanager
def little_room(name: str) -> Iterator[Any]:
    """Yield a reader's test, in a folder of its own, under the watch, with few addresses and a limit to memory."""
    from readers import READERS, reads_or_refuses
    from watch import Watch

    warnings.simplefilter("ignore")
    Image.init()
    for encoding in ("utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le"):  # which JSON may come in
        codecs.lookup(encoding)
    watch, counts = Watch(), {"files": 0, "refused": 0, "slowest_seconds": 0.0, "megabytes_more": 0}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # Python, PyTorch and Pillow import parts of themselves when first used, so a few go before the watch begins.
        settings(**QUIET, database=None, derandomize=True, max_examples=200)(reads_or_refuses(READERS[name], folder))()

        @contextmanager
        def watched() -> Iterator[None]:
            Path("/proc/self/clear_refs").write_text("5")  # the kernel counts the peak from here
            before, began = _megabytes("VmRSS"), time.monotonic()
            with watch.forbidding(folder):
                yield
            seconds, more = round(time.monotonic() - began, 2), _megabytes("VmHWM") - before
            counts["slowest_seconds"] = max(counts["slowest_seconds"], seconds)
            counts["megabytes_more"] = max(counts["megabytes_more"], more)
            assert not watch.seen, watch.seen
            assert more <= MEMORY_MEGABYTES, f"It took {more} MB more."

        def told(refused: bool) -> None:
            counts["files"] += 1
            counts["refused"] += refused

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))
        yield lambda: reads_or_refuses(READERS[name], folder, watched, told), counts
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _megabytes(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) // 1024


def chosen(name: str, runs: int, seconds: float, first_seed: int) -> dict[str, Any]:
    """Give a reader input of hypothesis' choice, in this process, and count what became of it."""
    start = time.monotonic()
    with little_room(name) as (test, counts):
        while counts["files"] < runs and time.monotonic() - start < seconds:
            size = min(BATCH, runs - counts["files"])
            phases = (Phase.reuse, Phase.generate, Phase.shrink)
            how = settings(**QUIET, database=DirectoryBasedExampleDatabase(FOUND), max_examples=size, phases=phases)
            how(seed(first_seed + counts["files"])(test()))()
    return counts


def guided(name: str, runs: int, seconds: float) -> None:
    """Let Atheris choose a reader's input, in this process; it ends the process itself."""
    import atheris

    with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
        include=["imagdressing_core", "pickletools", "zipfile"]
    ):
        import pickletools  # noqa: F401
        import zipfile  # noqa: F401

        import readers  # noqa: F401
    FOUND.mkdir(parents=True, exist_ok=True)
    with little_room(name) as (test, _), tempfile.TemporaryDirectory() as corpus:
        for i in range(50):  # else it takes long to find that input may be longer than a few bytes
            (Path(corpus) / str(i)).write_bytes(Random(i).randbytes(4000))
        how = settings(**QUIET, database=DirectoryBasedExampleDatabase(FOUND))
        limits = [f"-runs={runs}", f"-max_total_time={max(1, int(seconds))}", "-max_len=65536", "-timeout=60"]
        kept = f"-artifact_prefix={FOUND}/{name.replace(' ', '_')}-"
        command = [sys.argv[0], *limits, "-rss_limit_mb=0", "-seed=1", kept, corpus]
        atheris.Setup(command, how(test()).hypothesis.fuzz_one_input)
        atheris.Fuzz()


def in_a_process(name: str, how: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run one of the two above in a process of its own; return its counts, or end with what it said."""
    runs = given.runs if how == "chosen" else max(1, given.runs // GUIDED_SHARE)
    numbers = ["--runs", str(runs), "--seconds", str(given.seconds), "--seed", str(given.seed)]
    command = [sys.executable, __file__, "--reader", name, *numbers, "--here", how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ({how}) ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    if how == "chosen":
        return json.loads(done.stdout.splitlines()[-1])[name]
    finished, coverage = re.search(r"Done (\d+) runs", done.stderr), re.findall(r"cov: (\d+)", done.stderr)
    if finished is None:
        sys.exit(f"{name} ({how}) did not finish:\n{done.stderr[-3000:]}")
    return {"files": int(finished[1]), "edges_reached": int(coverage[-1]) if coverage else 0}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--reader", help="one of those in readers.py; without, all")
    arguments.add_argument("--runs", type=int, default=10**8, help="hypothesis' inputs a reader, and a quarter guided")
    arguments.add_argument("--seconds", type=float, default=86_400.0, help="for each reader and each way")
    arguments.add_argument("--seed", type=int, default=0, help="the first one")
    arguments.add_argument("--record", action="store_true", help=f"write {RESULT.relative_to(REPOSITORY)}")
    arguments.add_argument("--here", choices=["chosen", "guided"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.here == "guided":
        guided(given.reader, given.runs, given.seconds)
    from readers import READERS

    names = [given.reader] if given.reader else list(READERS)
    if given.here:
        print(json.dumps({name: chosen(name, given.runs, given.seconds, given.seed) for name in names}))
        return
    result: dict[str, Any] = json.loads(RESULT.read_text()) if given.record and given.reader else {}
    both = [(name, how) for name in names for how in ("chosen", "guided")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {pool.submit(in_a_process, name, how, given): (name, how) for name, how in both}
        for job in as_completed(jobs):
            name, how = jobs[job]
            print(name, how, job.result(), flush=True)
            result.setdefault(name, {})[how] = job.result()
            result[name]["machine"] = f"{platform.machine()}, Python {platform.python_version()}"
    if given.record:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
