"""A file is called damaged only where it is: not for want of memory, of a disk or of the end of its download."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.children import child

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files import safetensors_file
from imagdressing_core.files.garment_file import load_garment
from imagdressing_core.files.reading import reading
from imagdressing_core.files.safetensors_file import open_safetensors
from imagdressing_core.files.weights import open_weights

MEMORY = {
    "Python's": MemoryError(),
    "Windows' paging file": OSError(22, "The paging file is too small for this operation to complete. (os error 1455)"),
    "a map's": RuntimeError("unable to mmap 3547959907 bytes from file <a.pt>: Cannot allocate memory (12)"),
    "PyTorch's": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    "the library's": OSError("Cannot allocate memory (os error 12)"),
}
DISK = {
    "no such device": OSError(errno.ENODEV, "No such device"),
    "input and output": OSError(errno.EIO, "Input/output error"),
    "a stale network handle": OSError(errno.ESTALE, "Stale file handle"),
    "the library's": RuntimeError("unable to mmap 10 bytes from file <a.pt>: No such device (19)"),
}
NEVER = ("damaged", "ownload", "again with Save Garment")


@pytest.fixture(params=["a.pt", "a.safetensors"])
def healthy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 3, dtype=torch.float16)}
    torch.save(tensors, path) if path.suffix == ".pt" else save_file(tensors, path)
    return path


def refused(path: Path, fail: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr(safetensors_file, "safe_open", fail)
    with pytest.raises(IMAGDressingError) as refusal:
        open_weights(path)
    return str(refusal.value)


def failing(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("kind", MEMORY)
def test_want_of_memory_is_called_that_and_no_new_download_is_asked_for(
    healthy: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    message = refused(healthy, failing(MEMORY[kind]), monkeypatch)
    assert f"There was not enough memory to load {healthy.name}" in message
    assert "paging file" in message
    assert not any(word in message for word in NEVER)


@pytest.mark.parametrize("kind", DISK)
def test_a_disk_that_fails_is_called_that_and_no_new_download_is_asked_for(
    healthy: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    message = refused(healthy, failing(DISK[kind]), monkeypatch)
    assert f"disk or network drive of {healthy.name} did not deliver it" in message
    assert not any(word in message for word in NEVER)


def test_a_file_that_is_still_being_downloaded_is_called_that(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    def grow(*_: object, **__: object) -> None:
        with healthy.open("ab") as file:
            file.write(b"more")
        raise EOFError("cut")

    message = refused(healthy, grow, monkeypatch)
    assert f"{healthy.name} changed while it was being read" in message
    assert not any(word in message for word in NEVER[:1])


def test_a_file_that_changes_under_a_reader_which_does_not_notice_is_refused(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with pytest.raises(IMAGDressingError, match="changed while it was being read"), reading(path):
        path.write_bytes(b"two and more")


@pytest.mark.parametrize("error", [*MEMORY.values(), *DISK.values()], ids=[*MEMORY, *DISK])
def test_a_saved_garment_is_not_called_damaged_for_memory_or_disk(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "shirt.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"imagdressing.garment": "1"})
    monkeypatch.setattr(safetensors_file, "_entry", failing(error))
    with pytest.raises(IMAGDressingError) as refusal:
        load_garment(path)
    assert not any(word in str(refusal.value) for word in NEVER)


def in_maps(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_weights_stay_mapped_to_their_file_only_where_that_is_asked_for(healthy: Path):
    _, mapped = open_weights(healthy, mapped=True)
    assert in_maps(healthy)
    del mapped
    _, read = open_weights(healthy, mapped=False)
    assert not in_maps(healthy)
    assert torch.equal(read["a"], torch.arange(5.0))
    assert torch.equal(read["b"], torch.ones(2, 3, dtype=torch.float16))


def test_where_the_file_system_cannot_map_the_file_is_read(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(safetensors_file.mmap, "mmap", failing(OSError(errno.ENODEV, "No such device")))
    _, read = open_weights(healthy, mapped=True)
    assert not in_maps(healthy)
    assert torch.equal(read["a"], torch.arange(5.0))


READS_WITHIN = """
import resource, sys, torch
from pathlib import Path
from imagdressing_core.files.weights import open_weights
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))
try:
    print(len(open_weights(Path(sys.argv[1]))[1]))
except ValueError as error:
    print(error)
"""


def test_a_file_larger_than_the_address_space_is_refused_for_want_of_memory(tmp_path: Path):
    path = tmp_path / "large.safetensors"
    header = b'{"a":{"dtype":"U8","shape":[4294967296],"data_offsets":[0,4294967296]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, path.stat().st_size + 2**32)  # takes no room
    done = child("-c", READS_WITHIN, path, folder=tmp_path)
    assert "There was not enough memory to load large.safetensors (4.29 GB)" in done.stdout, done.stderr


@pytest.mark.parametrize("dtype", safetensors_file.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1, 0, 3), (2, 3)], ids=str)
def test_every_tensor_is_read_as_the_library_reads_it(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]):
    tensors = {"a": torch.ones(shape).to(dtype), "b": torch.zeros(3, dtype=torch.uint8)}
    save_file(tensors, tmp_path / "a.safetensors", {"key": "text"})
    with open_safetensors(tmp_path / "a.safetensors") as file:
        assert file.metadata() == {"format": "pt", "key": "text"} or file.metadata() == {"key": "text"}
        assert set(file.keys()) == {"a", "b"}
        found = file.get_tensor("a")
    assert (found.dtype, found.shape) == (dtype, torch.Size(shape))
    assert torch.equal(
        found.view(torch.uint8) if found.ndim else found,
        (tensors["a"].view(torch.uint8) if found.ndim else tensors["a"]),
    )


BROKEN = {
    "empty": b"",
    "cut header": (100).to_bytes(8, "little") + b"{}",
    "no object": (2).to_bytes(8, "little") + b"[]",
    "nested without end": (4000).to_bytes(8, "little") + b"[" * 4000,
    "overlapping": b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
    b'"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    "negative": b'{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,-4]}}',
    "endless": b'{"a":{"dtype":"U8","shape":[%s],"data_offsets":[0,4]}}' % (b"9" * 4000),
    "short": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "unknown dtype": b'{"a":{"dtype":"Q1","shape":[1],"data_offsets":[0,4]}}',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_header_is_refused_before_memory_is_taken(tmp_path: Path, kind: str):
    content = BROKEN[kind]
    if content.startswith(b"{"):
        content = len(content).to_bytes(8, "little") + content
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(IMAGDressingError, match=r"empty|damaged"):
        open_weights(path, mapped=False)
