"""Tells why a file could not be read: memory, its disk, a change under way, or damage of the file itself."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..errors import IMAGDressingError, first_line
from .diagnosis import DOWNLOAD_AGAIN, describe_unreadable

# Windows: not enough memory, out of memory, no system resources, paging file too small.
MEMORY_CODES = {"posix": {errno.ENOMEM}, "nt": {8, 14, 1450, 1455}}
# Windows: device not ready, checksum, network path and name gone, network error, I/O error, device not connected.
DISK_CODES = {
    "posix": {
        *(errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET),
    },
    "nt": {21, 23, 53, 55, 59, 64, 1117, 1167},
}
MEMORY_WORDS = ("cannot allocate memory", "not enough memory", "paging file", "bad_alloc", "bad allocation")
# "(os error 12)" of Rust, "error code: <1455>" and "Cannot allocate memory (12)" of PyTorch.
CODE = re.compile(r"os error (\d+)|error code: <?(\d+)|: [\w ]+ \((\d+)\)")

ALLOCATION = re.compile(r"allocate (\d+) bytes")  # of PyTorch's allocator


@contextmanager
def reading(path: Path, remedy: str = DOWNLOAD_AGAIN) -> Iterator[None]:
    """Turn any exception while the block reads ``path`` into an IMAGDressingError that names the cause.

    Args:
        path: The file.
        remedy: The advice where the file itself is damaged.

    Raises:
        IMAGDressingError: the block raised anything, or the file changed meanwhile.
        torch.OutOfMemoryError: the GPU's memory, which ComfyUI knows how to free, was full.
    """
    before = _version(path)
    try:
        yield
    except (IMAGDressingError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a broken file or system makes the libraries raise
        raise IMAGDressingError(_describe(path, before, error, remedy)) from error
    if _version(path) != before:
        raise IMAGDressingError(_changed(path))


def _describe(path: Path, before: tuple[int, int] | None, error: Exception, remedy: str) -> str:
    if not path.exists():
        return f"{path} does not exist. Press R to refresh the lists, and choose another file."
    if _version(path) != before:
        return _changed(path)
    if is_memory_error(error) and not _wants_more_than(path.stat().st_size, error):
        return (
            f"There was not enough memory to load {path.name} ({path.stat().st_size / 1e9:.2f} GB): "
            f"{first_line(error)}. The file is not at fault. Close other programs; on Windows, let the system manage "
            "the size of the paging file, or set it larger (Advanced system settings, Performance, Virtual memory)."
        )
    if _has_code(error, DISK_CODES):
        return (
            f"The disk or network drive of {path.name} did not deliver it: {first_line(error)}. The file need "
            "not be at fault. Check the drive and its connection, or copy the file to another drive. "
            f"It is in {path.parent}."
        )
    return describe_unreadable(path, error, remedy)


def is_memory_error(error: Exception) -> bool:
    """Return whether memory, address space or the paging file was too small."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError) or _has_code(error, MEMORY_CODES) or any(words in text for words in MEMORY_WORDS)
    )


def _wants_more_than(nbytes: int, error: Exception) -> bool:
    """Return whether the failed allocation exceeds the file, which then claims data that it does not hold."""
    wanted = ALLOCATION.search(str(error))
    return wanted is not None and int(wanted[1]) > nbytes


def _has_code(error: Exception, codes: dict[str, set[int]]) -> bool:
    posix, windows = {getattr(error, "errno", None)}, {getattr(error, "winerror", None)}
    for found in CODE.findall(str(error)):
        number = int(next(filter(None, found)))
        (windows if os.name == "nt" or number >= 1000 else posix).add(number)
    return bool(posix & codes["posix"] or windows & codes["nt"])


def _version(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _changed(path: Path) -> str:
    return (
        f"{path.name} changed while it was being read: it is probably still being downloaded or copied. "
        "Wait until that is done, then run again."
    )
