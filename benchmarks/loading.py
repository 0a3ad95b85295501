"""How long the converted checkpoint takes to load against reading its bytes, each time from an empty file cache."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compared_models as compared
import torch
from bench import Row, against, clock, in_turn, save
from support import comfyui_process as comfyui
from support.comfyui_release import prepare_base

from imagdressing_core.files import official_files

ROUNDS = 3


def load(path: Path) -> None:
    """Do as Load IMAGDressing Model does."""
    checkpoint = comfyui.pack("imagdressing_core.files.checkpoint").read_checkpoint(path, lambda *_: None)
    comfyui.pack("nodes.comfyui.garment_encoder").load_garment_encoder(checkpoint)


def forget(path: Path) -> None:
    """Have the system drop the file from its cache."""
    gc.collect()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _bytes_from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes")))


def measure(path: Path) -> Iterator[Row]:
    works: dict[str, Any] = {"read": path.read_bytes, "load": lambda: load(path)}
    timers = {name: clock(work, lambda: forget(path)) for name, work in works.items()}
    visits = {name: (lambda timer=timer: timer.blocked_autorange(min_run_time=0)) for name, timer in timers.items()}
    seconds = in_turn(visits, ROUNDS)
    yield against(
        "loading the converted checkpoint against reading its bytes", seconds["load"], seconds["read"], "≤ 1.3"
    )
    forget(path)
    before = _bytes_from_disk()
    load(path)
    taken, size = _bytes_from_disk() - before, path.stat().st_size
    yield Row("read from disk for the converted checkpoint, against its size", taken / 1e6, "MB", size / 1e6)


def main() -> None:
    source = prepare_base() / "models" / official_files.GARMENT.path
    with tempfile.TemporaryDirectory() as scratch:
        converted = comfyui.pack("imagdressing_core.files.checkpoint").convert_checkpoint(source, Path(scratch), "fp16")
        os.sync()  # pages that are not yet written stay in the cache
        save("loading", measure(converted.path))


if __name__ == "__main__":
    compared.start()
    with torch.inference_mode():
        main()
