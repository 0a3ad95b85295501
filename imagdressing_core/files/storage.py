"""Writing safetensors files that are whole or absent, never half written."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import IMAGDressingError

SCRATCH = ".imagdressing-"
SCRATCH_SECONDS = 86_400.0  # what is older than a day was left behind by a host that was killed while saving


def save_whole(tensors: dict[str, Tensor], target: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file so that ``target`` is, at any moment, absent, the old file or the whole new one.

    Raises:
        IMAGDressingError: the folder cannot be written or has too little room.
    """
    needed = sum(tensor.nbytes for tensor in tensors.values())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise IMAGDressingError(
                f"Not enough room to write {target}: {_gigabytes(needed)} needed, {_gigabytes(free)} free. "
                "Make room, or choose a smaller dtype."
            )
        _sweep(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=SCRATCH) as scratch:
            unfinished = Path(scratch) / "unfinished"  # without the suffix by which ComfyUI lists files
            unfinished.touch()
            ordinary = unfinished.stat().st_mode
            save_file(tensors, unfinished, {"format": "pt", **metadata})
            unfinished.chmod(ordinary)  # safetensors replaces it by a file that only its owner can read
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(target)
    except (OSError, SafetensorError) as error:
        raise IMAGDressingError(
            f"Could not write {target}: {error}. "
            f"Check that the folder can be written to and has {_gigabytes(needed)} free."
        ) from error


def _sweep(folder: Path) -> None:
    for scratch in folder.glob(f"{SCRATCH}*"):
        if time.time() - scratch.stat().st_mtime > SCRATCH_SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)


def _gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
