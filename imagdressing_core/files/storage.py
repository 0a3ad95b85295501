"""Writing files that are whole or absent, never half written, on every system."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ..errors import IMAGDressingError

if TYPE_CHECKING:  # reports are written without PyTorch
    from torch import Tensor

# Eight digits follow. No longer than the names of saved files, since Windows may allow only 259 letters in a path.
SCRATCH = ".imagdressing-"
SCRATCH_SECONDS = 86_400.0  # a scratch file older than a day was left behind by a process that was killed while saving
LONGEST_PATH = 259  # letters, on Windows without its setting for long paths


def save_whole(tensors: "dict[str, Tensor]", target: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file by :func:`written_whole`.

    Raises:
        IMAGDressingError: the folder cannot be written or has too little room, or another program uses the file.
    """
    from safetensors.torch import save_file

    with written_whole(target, sum(tensor.nbytes for tensor in tensors.values())) as unfinished:
        save_file(tensors, unfinished, {"format": "pt", **metadata})


@contextmanager
def written_whole(target: Path, needed: int = 0) -> Iterator[Path]:
    """Yield a path to write to; when the block ends, that file is flushed to the disk and takes the name ``target``.

    At any moment ``target`` is absent, the old file or the whole new one.

    Args:
        target: Its folder is made where it is missing.
        needed: Bytes that must be free on the disk before the block begins.

    Raises:
        IMAGDressingError: the folder cannot be written or has too little room, or another program uses the file.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_room(target.parent, needed)
        _sweep(target.parent)
        unfinished = target.with_name(SCRATCH + secrets.token_hex(4))  # without the suffix by which ComfyUI lists files
        try:
            unfinished.touch()
            ordinary = unfinished.stat().st_mode
            yield unfinished
            unfinished.chmod(ordinary)  # safetensors makes files that only their owner can read
            flush(unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        from torch import OutOfMemoryError

        if isinstance(error, OutOfMemoryError):  # not the disk's fault
            raise
        raise IMAGDressingError(_describe_unwritten(target, needed, error)) from error


def flush(path: Path) -> None:
    """Bring a finished file to the disk. Windows flushes only through a handle that may write."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def require_room(folder: Path, needed: int) -> None:
    """Raise IMAGDressingError unless the disk of ``folder`` has ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise IMAGDressingError(
            f"Not enough room in {folder}: {_gigabytes(needed)} needed, {_gigabytes(free)} free. Make room."
        )


def _describe_unwritten(target: Path, needed: int, error: Exception) -> str:
    advice = [f"Check that the folder can be written to and has {_gigabytes(needed)} free."]
    if isinstance(error, PermissionError) and target.exists():
        advice.append(
            "The file is there already: if a program uses it, close that program. On Windows ComfyUI itself keeps the "
            "file of a loaded model in use until it is restarted."
        )
    if len(str(target)) > LONGEST_PATH:
        advice.append(
            f"The path has {len(str(target))} letters, and Windows may allow only {LONGEST_PATH}: "
            "choose a shorter name or folder."
        )
    return f"Could not write {target}: {error}. {' '.join(advice)}"


def _sweep(folder: Path) -> None:
    for scratch in folder.glob(f"{SCRATCH}*"):
        try:
            if time.time() - scratch.stat().st_mtime > SCRATCH_SECONDS:
                scratch.unlink()
        except OSError:  # another process uses it or has swept it away
            continue


def _gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
