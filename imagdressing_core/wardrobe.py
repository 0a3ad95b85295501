"""Encoded garments as safetensors files: saved with where they come from, loaded only when they are what they say."""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import __version__
from .errors import IMAGDressingError
from .garment import Garment, GarmentPicture, Origin
from .layers import LAYERS
from .storage import save_whole

FORMAT = "1"
FORMAT_KEY = "imagdressing.garment"
VERSION_KEY = "imagdressing.version"
ORIGINS_KEY = "imagdressing.origins"
HYBRID_PARTS = ("k", "v")
JOINT_PARTS = ("c",)


def save_garment(garment: Garment, path: Path) -> None:
    """Write ``garment`` to ``path``: the whole file or none of it.

    Tensors ``<picture>.<part>.<layer index>`` and ``<picture>.thumbnail``; the origins of the pictures as JSON in the
    metadata.

    Raises:
        IMAGDressingError: the folder cannot be written or has no room.
    """
    tensors = {
        name: tensor.contiguous().clone()
        for i, picture in enumerate(garment.pictures)
        for name, tensor in _named_tensors(i, picture)
    }
    origins = json.dumps([asdict(picture.origin) for picture in garment.pictures])
    save_whole(tensors, path, {FORMAT_KEY: FORMAT, VERSION_KEY: __version__, ORIGINS_KEY: origins})


def load_garment(path: Path) -> Garment:
    """Read a garment that :func:`save_garment` wrote.

    Raises:
        IMAGDressingError: the file is missing, damaged, something else, of a newer format, or holds what no garment
            has: missing or misshapen tensors, NaN.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata: dict[str, str] = file.metadata() or {}
            names = set(file.keys())
            _require_format(path, metadata)
            origins = _origins(path, metadata)
            parts = JOINT_PARTS if f"0.c.{LAYERS[0].index}" in names else HYBRID_PARTS
            _require_names(path, names, len(origins), parts)
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise IMAGDressingError(
            f"{path.name} cannot be read as a saved garment ({error}). Save the garment again with Save Garment."
        ) from error
    return Garment(tuple(_picture(path, i, origin, parts, tensors) for i, origin in enumerate(origins)))


def _named_tensors(i: int, picture: GarmentPicture) -> Iterator[tuple[str, Tensor]]:
    for name, part in picture.parts.items():
        for index, tensor in part.items():
            yield f"{i}.{name}.{index}", tensor
    if picture.thumbnail is not None:
        yield f"{i}.thumbnail", picture.thumbnail


def _require_format(path: Path, metadata: dict[str, str]) -> None:
    found = metadata.get(FORMAT_KEY)
    if found is None:
        raise IMAGDressingError(
            f"{path.name} is no saved garment: it does not say so in its header. Choose a file that Save Garment wrote."
        )
    if found != FORMAT:
        raise IMAGDressingError(
            f"{path.name} is a garment of format {found[:20]}, saved by version {metadata.get(VERSION_KEY, '?')[:20]}; "
            f"this is version {__version__}, which reads format {FORMAT}. Update ComfyUI-IMAGDressing or save it again."
        )


def _origins(path: Path, metadata: dict[str, str]) -> list[Origin]:
    types = {field.name: int if field.name in ("width", "height") else str for field in fields(Origin)}
    try:
        entries: list[dict[str, Any]] = json.loads(metadata[ORIGINS_KEY])
        whole = all(
            entry.keys() == types.keys() and all(isinstance(entry[name], kind) for name, kind in types.items())
            for entry in entries
        )
        if whole and entries:
            return [Origin(**entry) for entry in entries]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        pass
    raise IMAGDressingError(
        f"{path.name} does not say where its garment comes from: its header is damaged. Save the garment again."
    )


def _require_names(path: Path, names: set[str], pictures: int, parts: tuple[str, ...]) -> None:
    needed = {f"{i}.{part}.{layer.index}" for i in range(pictures) for part in parts for layer in LAYERS}
    allowed = needed | {f"{i}.thumbnail" for i in range(pictures)}
    wrong = sorted(needed - names) or sorted(names - allowed)
    if wrong:
        state = "missing" if wrong[0] in needed else "not part of a garment"
        raise IMAGDressingError(
            f"{path.name} is no whole garment: {len(wrong)} tensors are {state} (first: {wrong[0]}). "
            "Save the garment again."
        )


def _picture(path: Path, i: int, origin: Origin, parts: tuple[str, ...], tensors: dict[str, Tensor]) -> GarmentPicture:
    found: dict[str, dict[int, Tensor]] = {part: {} for part in parts}
    for layer in LAYERS:
        tokens = tensors[f"{i}.{parts[0]}.{layer.index}"].shape[1:2]
        for part in parts:
            name = f"{i}.{part}.{layer.index}"
            tensor = found[part][layer.index] = tensors[name]
            if tensor.ndim != 3 or tensor.shape != (1, *tokens, layer.channels) or not tensor.numel():
                expected = f"(1, tokens, {layer.channels})"
                problem = f"{name} is {tuple(tensor.shape)}, expected {expected} with as many tokens in all parts"
            elif not tensor.is_floating_point():
                problem = f"{name} is {tensor.dtype}, expected floating point"
            elif not bool(torch.isfinite(tensor).all()):
                problem = f"{name} holds NaN or infinite values"
            else:
                continue
            raise IMAGDressingError(f"{path.name} is no garment: {problem}. Save the garment again.")
    return GarmentPicture(found, origin, _thumbnail(tensors.get(f"{i}.thumbnail")))


def _thumbnail(tensor: Tensor | None) -> Tensor | None:
    """Return the thumbnail, or None where it is no picture: it is for looking at only."""
    is_picture = tensor is not None and tensor.ndim == 3 and tensor.shape[-1] == 3 and tensor.dtype == torch.uint8
    return tensor if is_picture else None
