"""Hostile input for every reader, for as long as is asked: ``python fuzz/run.py --seconds 60`` or ``--runs 10000``.

Each reader gets it twice in processes of their own: from seeded choices, and from Atheris, which looks for input that
reaches code not yet reached. A process that dies, a failure that is no refusal in words, anything that ``watch``
forbids, or memory beyond the limit ends the run with status 1; the seed is said, the input kept in ``artefacts/fuzz``.
"""

import argparse
import codecs
import contextlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # as fuzz/ is already: the core is not installed where only ComfyUI is

RESULT = REPOSITORY / "benchmarks" / "results" / "fuzz.json"
FOUND = REPOSITORY / "artefacts" / "fuzz"
GUIDED_SHARE = 4  # one guided input, slow since its way through the code is traced, for so many seeded
MEMORY_MEGABYTES = 256  # more than the largest tensor of a checkpoint, in float32, twice
ROOM_BYTES = 2 * 2**30  # of addresses, on top of what Python and PyTorch have taken


def seeded(name: str, runs: int, seconds: float, first_seed: int) -> dict[str, Any]:
    """Give a reader input made of seeded choices, in this process, and count what became of it."""
    from readers import READERS, refused
    from watch import Watch

    warnings.simplefilter("ignore")
    reader, watch = READERS[name], Watch()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _warm_up(reader, folder)
        _limit_addresses()
        before, start = _peak_megabytes(), time.monotonic()
        counts = {"files": 0, "refused": 0, "slowest_seconds": 0.0}
        while counts["files"] < runs and time.monotonic() - start < seconds:
            seed = first_seed + counts["files"]
            began = time.monotonic()
            try:
                with watch.forbidding(folder):
                    counts["refused"] += refused(lambda seed=seed: reader.attempt(Random(seed), folder))
            except Exception:
                sys.exit(f"{name}, seed {seed}:\n{traceback.format_exc()}")
            if watch.seen:
                sys.exit(f"{name}, seed {seed}, did what it must not:\n" + "\n".join(watch.seen))
            counts["files"] += 1
            counts["slowest_seconds"] = max(counts["slowest_seconds"], time.monotonic() - began)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        grown = _peak_megabytes() - before
        if grown > MEMORY_MEGABYTES:
            sys.exit(f"{name} took {grown:.0f} MB more at its peak, allowed are {MEMORY_MEGABYTES}.")
    return counts | {"slowest_seconds": round(counts["slowest_seconds"], 2), "megabytes_more": round(grown)}


def guided(name: str, runs: int, seconds: float) -> None:
    """Let Atheris choose a reader's input, in this process; it ends the process itself."""
    import atheris

    with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
        include=["imagdressing_core", "pickletools", "zipfile"]
    ):
        import pickletools  # noqa: F401
        import zipfile  # noqa: F401

        from readers import READERS, refused
    from making import Choices
    from watch import Watch

    warnings.simplefilter("ignore")
    reader, watch, folder = READERS[name], Watch(), Path(tempfile.mkdtemp())
    _warm_up(reader, folder)
    _limit_addresses()

    def once(data: bytes) -> None:
        with watch.forbidding(folder):
            if reader.read_file is not None and data[:1] == b"\xff":
                path = folder / f"hostile{reader.suffix}"
                path.write_bytes(data[1:])
                refused(lambda: reader.read_file(path))  # pyright: ignore[reportOptionalCall]
            else:
                refused(lambda: reader.attempt(Choices(data), folder))
        if watch.seen:
            raise AssertionError(watch.seen)

    FOUND.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus"
    corpus.mkdir()
    for seed in range(50):  # to begin with; else it takes long to find that input may be longer than a few bytes
        (corpus / str(seed)).write_bytes(b"\0" + Random(seed).randbytes(2000))
    limits = [f"-runs={runs}", f"-max_total_time={max(1, int(seconds))}", "-max_len=65536", "-timeout=60"]
    kept = f"-artifact_prefix={FOUND}/{name.replace(' ', '_')}-"
    atheris.Setup([sys.argv[0], *limits, "-rss_limit_mb=0", "-seed=1", kept, str(corpus)], once)
    atheris.Fuzz()


def _warm_up(reader: Any, folder: Path) -> None:
    """Read a few before the watch begins: Python, PyTorch and Pillow import parts of themselves when first used."""
    Image.init()
    for encoding in ("utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le"):  # which JSON may come in
        codecs.lookup(encoding)
    for seed in range(50):
        with contextlib.suppress(ValueError):  # IMAGDressingError is one
            reader.attempt(Random(f"warm {seed}"), folder)


def _limit_addresses() -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(name: str, how: str, runs: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run one of the two above in a process of its own; return its counts, or end with what it said."""
    command = [sys.executable, __file__, "--reader", name, "--runs", str(runs), "--seconds", str(seconds)]
    done = subprocess.run([*command, "--seed", str(seed), "--here", how], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ({how}) ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    if how == "seeded":
        return json.loads(done.stdout.splitlines()[-1])[name]
    finished = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    if finished is None:
        sys.exit(f"{name} ({how}) did not finish:\n{done.stderr[-3000:]}")
    return {"files": int(finished[1]), "edges_reached": int(coverage[-1]) if coverage else 0}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--reader", help="one of those in readers.py; without, all")
    arguments.add_argument("--runs", type=int, default=10**8, help="seeded inputs a reader, and a quarter guided")
    arguments.add_argument("--seconds", type=float, default=86_400.0, help="for each reader and each way")
    arguments.add_argument("--seed", type=int, default=0, help="the first one")
    arguments.add_argument("--record", action="store_true", help=f"write {RESULT.relative_to(REPOSITORY)}")
    arguments.add_argument("--here", choices=["seeded", "guided"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.here == "seeded":
        from readers import READERS

        names = [given.reader] if given.reader else READERS
        print(json.dumps({name: seeded(name, given.runs, given.seconds, given.seed) for name in names}))
        return
    if given.here == "guided":
        guided(given.reader, given.runs, given.seconds)
    from readers import READERS

    result = json.loads(RESULT.read_text()) if given.record and RESULT.exists() else {}

    def both_ways(name: str) -> dict[str, Any]:
        runs = {"seeded": given.runs, "guided": max(1, given.runs // GUIDED_SHARE)}
        counts = {how: in_a_process(name, how, runs[how], given.seconds, given.seed) for how in runs}
        print(name, counts, flush=True)
        return {name: counts | {"machine": f"{platform.machine()}, Python {platform.python_version()}"}}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        names = [given.reader] if given.reader else READERS
        for done in as_completed([pool.submit(both_ways, name) for name in names]):
            result |= done.result()
            if given.record:
                RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
