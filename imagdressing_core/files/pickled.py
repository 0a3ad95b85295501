"""Inspects a pickled file before PyTorch loads it.

``torch.load(weights_only=True)`` runs no code, but a few bytes can make it fill any amount of memory, or kill the
process: a compressed archive, a copied view that repeats one number, a tuple nested a million deep that is hashed. No
checkpoint contains any of these.
"""

import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# The published files, and those of common trainers, consist of numbers, text, containers and views.
STORAGES = ("BFloat16", "Half", "Float", "Double", "Byte", "Char", "Short", "Int", "Long", "Bool")
DTYPES = ("bfloat16", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
PLAIN = frozenset(
    {
        "collections OrderedDict",
        "__builtin__ set",
        "torch Size",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch.storage UntypedStorage",
        *(f"torch {name}Storage" for name in STORAGES),
        *(f"torch {name}" for name in DTYPES),
    }
)
NAMING = ("INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4")  # other ways to name code, of which PyTorch writes none

LARGEST_PICKLE = 8 * 2**20  # bytes; the published files' have 0.5 and 0.9 million
LARGEST_TUPLE = 10_000  # entries, and those of the tuples in it
LARGEST_NUMBER = 64  # bits

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that the format before zip begins with
LEGACY_PICKLES = 4  # after it: version, machine, content, keys; then bare numbers


class NotPlain(Exception):
    """The file asks for something that no checkpoint needs; the message names it."""


def is_zip(path: Path) -> bool:
    """Return whether PyTorch reads the file as a zip archive, which it can map; its format before 2020 is none."""
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def require_plain(path: Path) -> None:
    """Read the instructions of a pickled file without executing any.

    Raises:
        NotPlain: it names anything but ``PLAIN``, is packed, or is larger in some way than any checkpoint.
        Exception: it is broken, in any of the ways in which ``zipfile`` and ``pickletools`` say so.
    """
    if is_zip(path):
        with _unpacked(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith(".pkl"):
                    with archive.open(name) as pickled:
                        _require_plain_pickle(pickled)
        return
    with path.open("rb") as file:
        is_legacy = file.read(len(LEGACY)) == LEGACY
        if not is_legacy:
            file.seek(0)
        for _ in range(LEGACY_PICKLES if is_legacy else 1):
            _require_plain_pickle(file)


def _require_plain_pickle(file: IO[bytes]) -> None:
    """Follow what the instructions do to the stack, as ``pickletools.dis`` does, keeping sizes in place of values."""
    start = file.tell()
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    for instruction, value, position in pickletools.genops(file):
        name, takes = instruction.name, instruction.stack_before
        _require_plain_instruction(name, value)
        if (position or 0) - start > LARGEST_PICKLE:
            raise NotPlain("its pickle is larger than any checkpoint's")
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[int(value or 0)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(value or 0)])
        else:
            below = takes.index(pickletools.markobject) if pickletools.markobject in takes else len(takes)
            top = marks.pop() if below < len(takes) else len(stack)
            taken = stack[top:] if below < len(takes) else stack[top - below :]
            size = 1 + sum(taken) if "TUPLE" in name else 1
            if size > LARGEST_TUPLE:
                raise NotPlain("it holds a tuple larger than any in a checkpoint")
            del stack[top - below :]
            stack.extend(size for _ in instruction.stack_after)


def _require_plain_instruction(name: str, value: object) -> None:
    if name == "GLOBAL" and value not in PLAIN:
        raise NotPlain(f"loading it would run code ({str(value).replace(' ', '.')})")
    if name in NAMING:
        raise NotPlain("loading it would run code (a pickle of a kind that PyTorch does not write)")
    if name == "LONG1" and isinstance(value, int) and value.bit_length() > LARGEST_NUMBER:
        raise NotPlain("it holds a number larger than any in a checkpoint")


@contextmanager
def _unpacked(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose entries are stored without compression and together fit into the file."""
    _require_one_reading(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise NotPlain("it is packed, and PyTorch does not pack")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise NotPlain("the entries of the archive overlap")
        yield archive


def _require_one_reading(path: Path) -> None:
    """Require an end of the archive as PyTorch writes it, so that Python and PyTorch read the same entries."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 98))
        tail = file.read()
    record, locator, end = tail[:-42], tail[-42:-22], tail[-22:]
    if not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        raise zipfile.BadZipFile("no end of archive")
    is_zip64 = locator.startswith(b"PK\x06\x07")
    if is_zip64 and not (record.startswith(b"PK\x06\x06") and int.from_bytes(locator[8:16], "little") == size - 98):
        raise zipfile.BadZipFile("no end of archive")
