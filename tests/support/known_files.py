"""Files that once ran, killed or filled something, each with what is said of it now.

Run as a script, in a process of its own with little memory, it reads all of them and prints what became of each.
"""

import io
import json
import pickle
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hostile_input
import torch
from pickles import called, named, number, text

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import expected_shapes, read_checkpoint
from imagdressing_core.files.garment_file import load_garment
from imagdressing_core.files.pickled import LEGACY
from imagdressing_core.model.layers import LAYERS

ROOM_BYTES = 2**30
EXECUTED = "executed"
SAFE = "safetensors"
PROTO = b"\x80\x02"
CODE = "was refused: loading it would run code"
FOREIGN = "is not an IMAGDressing checkpoint"
HEADER = "its header is damaged"
DAMAGED = "is damaged, incomplete or something else"


@dataclass(frozen=True)
class Known:
    """A file. suffix: ``garment`` for one that is read as a saved garment; message: part of the refusal."""

    make: Callable[[], bytes]
    message: str
    suffix: str = "pt"


def archive(pickled: bytes, packing: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", packing) as file:
        for name, content in (("data.pkl", pickled), ("version", b"3\n"), ("data/0", bytes(64))):
            file.writestr(f"a/{name}", content)
        file.comment = comment
    return written.getvalue()


def legacy(content: bytes, keys: bytes = PROTO + b"].") -> bytes:
    return LEGACY + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + content + keys


def view_of_one(size: int, storage: int = 1, legacy: bool = False) -> bytes:
    """Return the pickle of a tensor of ``size`` numbers that all lie in one place."""
    held = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + number(storage)
    held += (b"N" if legacy else b"") + b"tQ"
    shape, stride = number(size) + b"\x85", number(0) + b"\x85"
    hooks = called("collections", "OrderedDict")
    return called("torch._utils", "_rebuild_tensor_v2", held, number(0), shape, stride, b"\x89", hooks)


def copied_view() -> bytes:
    arguments = view_of_one(10**11), named("torch", "float64"), text("cpu"), b"\x89"
    return archive(PROTO + called("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", *arguments) + b".")


def packed_archive() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file, file.open("a/data.pkl", "w") as pickled:
        pickled.write(PROTO + b"X" + struct.pack("<I", 500 * 2**20))
        for _ in range(500):
            pickled.write(bytes(2**20))
        pickled.write(b".")
    return written.getvalue()


def two_archives() -> bytes:
    """Return a packed archive with a harmless one behind it: readers that look for the end elsewhere see another."""
    return packed_archive() + bytes(70_000) + archive(PROTO + b"}.")


def shared_tuples() -> bytes:
    return archive(PROTO + b"})" + b"".join(b"q\x00h\x00\x86" for _ in range(60)) + b"K\x01s.")


def colliding_numbers() -> bytes:
    keys = b"".join(number(i * (2**61 - 1)) + b"N" for i in range(1, 20_000))
    return archive(PROTO + b"}(" + keys + b"u.")


def dictionary_everywhere() -> bytes:
    entries = b"".join(text(str(i)) + b"N" for i in range(5000))
    places = b"".join(text(f"{i}x") + b"h\x00" for i in range(5000))
    return archive(PROTO + b"}(" + text("first") + b"}q\x00(" + entries + b"u" + places + b"u.")


def hidden_methods() -> bytes:
    attributes = b"}(" + text("get") + b"N" + text("items") + b"N" + text("keys") + b"Nu"
    return archive(PROTO + called("collections", "OrderedDict") + attributes + b"b.")


def negative_view() -> bytes:
    whole = {key: torch.zeros(1).expand(shape) for key, shape in expected_shapes().items()}
    name = next(iter(whole))
    whole[name] = torch._neg_view(whole[name])  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    written = io.BytesIO()
    torch.save({"module": whole}, written)
    return written.getvalue()


def announced_terabyte() -> bytes:
    """Return a legacy file of 16 GB of numbers that are not in it: memory as another program left it, for weights."""
    return legacy(PROTO + b"}" + text("ref_unet.conv_in.weight") + view_of_one(1, 4 * 2**30, legacy=True) + b"s.")


def safetensors(header: object, data: int = 16, length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + bytes(data)


def entry(start: int, end: int, dtype: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def garment(origins: object, dtype: str = "F16", pictures: int = 1) -> bytes:
    names = {f"{i}.{part}.{layer.index}": layer.channels for i in range(pictures) for part in "kv" for layer in LAYERS}
    size = 1 if dtype.startswith("F8") else 2
    header: dict[str, object] = {}
    end = 0
    for name, channels in names.items():
        header[name] = entry(end, end + size * channels, dtype, (1, 1, channels))
        end += size * channels
    encoded = origins if isinstance(origins, str) else json.dumps(origins)
    header["__metadata__"] = {"imagdressing.garment": "1", "imagdressing.origins": encoded}
    return safetensors(header, end)


KNOWN = {
    "runs a program": Known(lambda: archive(PROTO + called("os", "system", text(f"touch {EXECUTED}")) + b"."), CODE),
    "runs a program, format before zip": Known(
        lambda: legacy(PROTO + called("posix", "system", text(f"touch {EXECUTED}")) + b"."), CODE
    ),
    "runs a program, bare pickle": Known(
        lambda: PROTO + called("os", "system", text(f"touch {EXECUTED}")) + b".", CODE
    ),
    "runs text": Known(lambda: archive(PROTO + called("builtins", "eval", text("1")) + b"."), CODE),
    "imports by an old instruction": Known(lambda: archive(PROTO + b"(iantigravity\nx\n."), CODE),
    "imports by a new instruction": Known(lambda: archive(PROTO + text("os") + text("system") + b"\x93."), CODE),
    "fills memory with a copy of one number": Known(copied_view, CODE),
    "asks for a terabyte": Known(lambda: archive(PROTO + called("builtins", "bytearray", number(2**40)) + b"."), CODE),
    "unpacks to a thousand times its size": Known(packed_archive, "it is packed, and PyTorch does not pack"),
    "is read differently by two readers": Known(two_archives, DAMAGED),
    "has an end in its comment": Known(lambda: archive(PROTO + b"}.", comment=b"PK\x05\x06" + bytes(18)), DAMAGED),
    "kills the process by hashing": Known(
        lambda: archive(PROTO + b"})" + b"\x85" * 1_000_000 + b"K\x01s."), "a tuple larger than any in a checkpoint"
    ),
    "hashes until the end of days": Known(shared_tuples, "a tuple larger than any in a checkpoint"),
    "fills a dictionary with equal hashes": Known(colliding_numbers, "a number larger than any in a checkpoint"),
    "holds itself": Known(lambda: archive(PROTO + b"}q\x00" + text("a") + b"h\x00s."), FOREIGN),
    "holds one dictionary in many places": Known(dictionary_everywhere, FOREIGN),
    "hides a dictionary's methods": Known(hidden_methods, FOREIGN),
    "holds a negative view": Known(negative_view, "1 tensors do not fit"),
    "takes over memory it did not fill": Known(announced_terabyte, DAMAGED),
    "names a storage by a number": Known(lambda: archive(PROTO + b"K\x01Q."), DAMAGED),
    "names no type of storage": Known(
        lambda: archive(PROTO + b"(" + text("storage") + b"N" + text("0") + text("cpu") + b"K\x01tQ."), DAMAGED
    ),
    "ends within a number": Known(lambda: archive(PROTO + b"M\x01"), DAMAGED),
    "has a tensor for a key": Known(
        lambda: archive(PROTO + b"}" + view_of_one(10**11) + b"Ns."), "the first of its 1 entries is Tensor"
    ),
    "has a key of a million letters": Known(lambda: archive(PROTO + b"}" + text("x" * 10**6) + b"Ns."), "…"),
    "has a key that is no text": Known(lambda: archive(PROTO + b"}" + text("\ud800\n") + b"Ns."), "��"),
    "announces a longer header than it has": Known(lambda: safetensors({}, 0, 2**63), DAMAGED, SAFE),
    "has overlapping tensors": Known(
        lambda: safetensors({"a": entry(0, 8), "b": entry(4, 12)}), DAMAGED, "safetensors"
    ),
    "has tensors beyond its end": Known(lambda: safetensors({"a": entry(0, 2**40, shape=(2**38,))}), DAMAGED, SAFE),
    "has more numbers than bytes": Known(lambda: safetensors({"a": entry(0, 16, shape=(2**62, 4))}), DAMAGED, SAFE),
    "has a type of its own": Known(lambda: safetensors({"a": entry(0, 16, "F1")}), DAMAGED, SAFE),
    "nests its header without end": Known(lambda: safetensors(b"[" * 5_000_000), DAMAGED, SAFE),
    "comes from a million pictures": Known(
        lambda: garment([hostile_input.ORIGIN] * 200_000), DAMAGED, "garment"
    ),
    "comes from a place of a million letters": Known(
        lambda: garment([{**hostile_input.ORIGIN, "checkpoint": "x" * 10**6}]), HEADER, "garment"
    ),
    "is wider than wide": Known(lambda: garment([{**hostile_input.ORIGIN, "width": 10**30}]), HEADER, "garment"),
    "nests where it comes from": Known(lambda: garment("[" * 10**6), HEADER, "garment"),
    "is of a type without arithmetic": Known(
        lambda: garment([hostile_input.ORIGIN], "F8_E4M3"), "expected float16, bfloat16 or float32", "garment"
    ),
}  # fmt: skip


def read_all(folder: Path) -> None:
    """Read the files that the names of ``KNOWN`` number; print a line of JSON for each."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))
    for i, (name, known) in enumerate(KNOWN.items()):
        path = folder / file_name(i, known)
        peak, start, message = _peak_megabytes(), time.process_time(), None
        try:
            (load_garment if known.suffix == "garment" else read_checkpoint)(path)
        except IMAGDressingError as error:
            message = str(error)
        seconds, megabytes = time.process_time() - start, _peak_megabytes() - peak
        print(json.dumps({"name": name, "message": message, "megabytes": megabytes, "seconds": seconds}), flush=True)


def file_name(number: int, known: Known) -> str:
    return f"{number}.{known.suffix.replace('garment', 'safetensors')}"


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    read_all(Path(sys.argv[1]))
