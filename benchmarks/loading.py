"""How long the converted checkpoint takes to load against reading its bytes, each time from an empty file cache.

``fp16`` is how a GPU loads it; on the CPU the host makes float32 of it, twice the bytes of the file.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import arrangements
import host_process as host
import model_files
import torch
from comfy_host import prepare_base
from results_file import Row, save
from timing import against, in_turn, timed

ROUNDS = 3


def measure_here(path: Path, fp16: bool) -> None:
    """Load and read in this process, in turn; print the seconds of each and the bytes that a load takes from disk."""
    arrangements.start(fp16_unet=fp16)
    visits: dict[str, Callable[[int], list[float]]] = {
        "read": lambda _: [_uncached(path, lambda: path.read_bytes())],
        "load": lambda _: [_uncached(path, lambda: load(path))],
    }
    seconds = in_turn(visits, ROUNDS)
    before = _bytes_from_disk()
    _uncached(path, lambda: load(path))
    print(json.dumps(seconds | {"bytes": _bytes_from_disk() - before}))


def load(path: Path) -> None:
    """Do as Load IMAGDressing Model does."""
    checkpoint = host.pack("imagdressing_core.checkpoint").read_checkpoint(path, lambda *_: None)
    host.pack("nodes.host.garment_encoder").load_garment_encoder(checkpoint)


def _uncached(path: Path, work: Callable[[], object]) -> float:
    gc.collect()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return timed(work)


def _bytes_from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes")))


def measure(path: Path) -> Iterator[Row]:
    size = path.stat().st_size
    for kind, goal in (("fp16", "≤ 1.3"), ("float32", "")):
        command = [sys.executable, __file__, str(path), kind]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        name = f"converted checkpoint to {kind} in memory"
        yield against(f"loading the {name} against reading its bytes", found["load"], found["read"], goal)
        yield Row(f"read from disk for the {name}, against its size", found["bytes"] / 1e6, "MB", size / 1e6)


def main() -> None:
    source = prepare_base() / "models" / model_files.GARMENT.path
    with tempfile.TemporaryDirectory() as scratch:
        converted = host.pack("imagdressing_core.checkpoint").convert_checkpoint(source, Path(scratch), "fp16")
        os.sync()  # pages that are not yet written stay in the cache
        save("loading", measure(converted.path))


if __name__ == "__main__":
    with torch.inference_mode():
        if sys.argv[1:]:
            measure_here(Path(sys.argv[1]), sys.argv[2] == "fp16")
        else:
            arrangements.start()
            main()
