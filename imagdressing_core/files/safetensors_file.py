"""Reads safetensors files into memory, where they cannot or should not be mapped into it.

The library always maps. Some file systems (network drives, merged folders) cannot map, others do it very slowly, and on
Windows a mapped file can be neither replaced nor deleted.
"""

import json
import math
import mmap
import os
import struct
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

LARGEST_HEADER = 8 * 2**20  # bytes; a checkpoint's has 0.1 million
MOST_SIDES = 16
LARGEST_SIDE = 2**48
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SafetensorsFile(Protocol):
    """The part of the library's ``safe_open`` that this pack uses."""

    def metadata(self) -> dict[str, str]: ...

    def keys(self) -> list[str]: ...

    def get_tensor(self, name: str) -> Tensor: ...


def open_safetensors(path: Path, mapped: bool = False) -> AbstractContextManager[SafetensorsFile]:
    """Open a safetensors file.

    Args:
        path: The file.
        mapped: Whether its tensors may be views of the file, mapped into memory. Then nothing is read before it is
            used, and the file stays in use as long as one of its tensors lives. Where the file system cannot map, the
            tensors are read.

    Raises:
        Exception: the file is broken, in any of the ways in which the library and the system say so.
    """
    return safe_open(path, framework="pt", device="cpu") if mapped and can_map(path) else _ReadFile(path)


def can_map(path: Path) -> bool:
    """Return whether the system can map this file into memory, privately as the libraries do."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY):
            return True
    except (OSError, ValueError, OverflowError):  # the device cannot, no address space is left, the file is empty
        return False


class _ReadFile:
    """A safetensors file whose tensors are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def __enter__(self) -> "_ReadFile":
        try:
            self._entries, self._metadata, self._start = self._read_header()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def metadata(self) -> dict[str, str]:
        return self._metadata

    def keys(self) -> list[str]:
        return list(self._entries)

    def get_tensor(self, name: str) -> Tensor:
        dtype, shape, first, nbytes = self._entries[name]
        content = torch.empty(nbytes, dtype=torch.uint8)
        self._file.seek(self._start + first)
        if nbytes and self._file.readinto(content.numpy().data) != nbytes:
            raise EOFError(f"the file ends within {name}")
        return content.view(dtype).reshape(shape)

    def _read_header(self) -> tuple[dict[str, tuple[torch.dtype, tuple[int, ...], int, int]], dict[str, str], int]:
        """Return the entries (dtype, shape, first byte, bytes) by name, the metadata and where the tensors begin."""
        size = os.fstat(self._file.fileno()).st_size
        (length,) = struct.unpack("<Q", self._file.read(8))
        if length > min(LARGEST_HEADER, size - 8):
            raise SafetensorError("its header is too large")
        header: dict[str, Any] = json.loads(self._file.read(length))
        metadata: dict[str, str] = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise SafetensorError("its metadata are no texts")
        entries = {name: _entry(described) for name, described in header.items()}
        end = 0
        for _, _, first, nbytes in sorted(entries.values(), key=lambda entry: (entry[2], entry[3])):
            if first != end:
                raise SafetensorError("its tensors do not lie end to end")
            end += nbytes
        if 8 + length + end != size:
            raise SafetensorError(f"it should have {8 + length + end:,} bytes")
        return entries, metadata, 8 + length


def _entry(described: dict[str, Any]) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    dtype, shape, (first, last) = DTYPES[described["dtype"]], described["shape"], described["data_offsets"]
    numbers = [*shape, first, last]
    plain = len(shape) <= MOST_SIDES and all(type(one) is int and 0 <= one <= LARGEST_SIDE for one in numbers)
    if not plain or last - first != math.prod(shape) * dtype.itemsize:
        raise SafetensorError("a tensor's shape does not fit its bytes")
    return dtype, tuple(shape), first, last - first
