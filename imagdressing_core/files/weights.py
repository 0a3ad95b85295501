"""Opens any file of weights, mapped or read, without running code from it or allocating sizes that it only claims."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import IMAGDressingError, shown
from .diagnosis import OFFICIAL_NAME, OFFICIAL_SOURCE
from .pickled import is_zip, require_plain
from .reading import reading
from .safetensors_file import can_map, open_safetensors

Weights = dict[str, Tensor]


def open_weights(
    path: Path, mapped: bool = True, wanted: Callable[[str], bool] = bool
) -> tuple[str, Mapping[Any, Any]]:
    """Return (variant, values by key) of any weights, without executing anything in the file.

    Args:
        path: The file.
        mapped: Whether the values may be views of the file, mapped into memory. Where the file system cannot map, and
            in the format before zip, they are read.
        wanted: Whether a name is worth reading, in a safetensors file; by default all are.

    Raises:
        IMAGDressingError: the file is missing, damaged, carries code or holds no weights, or could not be read for want
            of memory, through its disk's fault or since it changed meanwhile.
    """
    if not path.is_file():
        raise IMAGDressingError(f"{path} does not exist. Put {OFFICIAL_NAME} there or choose another file.")
    with reading(path):
        if path.suffix.lower() == ".safetensors":
            return "safetensors", _open_safetensors(path, mapped, wanted)
        require_plain(path)
        opened = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip(path) and can_map(path))
    content = _entries(opened)
    if content is None:
        raise IMAGDressingError(f"{path.name} holds no checkpoint. Get {OFFICIAL_NAME} from {OFFICIAL_SOURCE}.")
    module = _entries(content.get("module"))
    variant = "flat" if module is None else "official" if len(content) == 1 else "DeepSpeed state"
    found = _flatten(content) if module is None else module
    _require_held(path, found.values())
    return variant, found


def _open_safetensors(path: Path, mapped: bool, wanted: Callable[[str], bool]) -> Weights:
    with open_safetensors(path, mapped) as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names if wanted(name)}


def _entries(value: object) -> dict[Any, Any] | None:
    """Return what a dictionary holds, or None for anything else. An OrderedDict's attributes may hide its methods."""
    if isinstance(value, OrderedDict):
        return dict(OrderedDict.items(value))
    return value if isinstance(value, dict) else None


def _flatten(content: dict[Any, Any]) -> dict[str, Any]:
    """Flatten one level of nesting into dotted names, as generic converters do, so that messages can list the content.

    Visit each dictionary once: a hostile file may contain one that contains itself, or one that is referenced a million
    times.
    """
    flat: dict[str, Any] = {}
    seen: set[int] = set()
    for key, value in content.items():
        inside = _entries(value)
        key = _name(key)
        if inside is None:
            flat[key] = value
        elif id(value) not in seen:
            seen.add(id(value))
            flat |= {f"{key}.{_name(inner)}": entry for inner, entry in inside.items()}
    return flat


def _name(key: object) -> str:
    """Return a key as text; its type if it is no string or integer: a hostile file can make printing it very slow."""
    return str(key) if isinstance(key, str | int) else type(key).__name__


def _require_held(path: Path, values: Iterable[object]) -> None:
    """Reject tensors that claim more bytes than the file has: the format before zip allocates them before it reads."""
    storages = [value.untyped_storage() for value in values if isinstance(value, Tensor)]
    announced = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    if announced > path.stat().st_size:
        with reading(path):
            raise EOFError(f"{announced} bytes announced")


def misfits(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> str:
    """Describe why ``found`` cannot be loaded as tensors of the ``expected`` names and shapes; "" if it can.

    Missing, surplus and misshapen tensors are counted, and the first of each is named.
    """
    missing = [key for key in expected if key not in found]
    surplus = [key for key in found if key not in expected]
    wrong = [key for key, shape in expected.items() if key in found and not _fits(found[key], shape)]
    problems: list[str] = []
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} tensors are missing (first: {missing[0]})")
    if surplus:
        problems.append(f"{len(surplus)} tensors are not part of it (first: {shown(surplus[0])})")
    if wrong:
        key = wrong[0]
        problems.append(
            f"{len(wrong)} tensors do not fit (first: {key} is {_describe(found[key])}, expected {expected[key]})"
        )
    return "; ".join(problems)


def _fits(value: object, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and tuple(value.shape) == shape
        and not value.is_neg()  # the one kind of view that is more than sizes and strides
    )


def _describe(value: object) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
