"""Encoded garments as safetensors files, saved with their origin and checked before they are used."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..errors import IMAGDressingError, shown
from ..model.garment import Garment, GarmentImage, GarmentLayer, LayerKV, Origin, is_usable
from ..model.layers import LAYERS, SelfAttentionLayer
from ..model.magic_clothing import LayerFeatures
from .checkpoint import DTYPES
from .reading import reading
from .safetensors_file import open_safetensors
from .storage import save_whole

FORMAT = "1"
FORMAT_KEY = "imagdressing.garment"
VERSION_KEY = "imagdressing.version"
ORIGINS_KEY = "imagdressing.origins"
LONGEST_NAME, LARGEST_SIDE = 255, 16_384


def save_garment(garment: Garment, path: Path) -> None:
    """Write ``garment`` to ``path``: the whole file or none of it.

    Tensors ``<image>.<part>.<layer index>`` and ``<image>.thumbnail``; the origins of the images as JSON in the
    metadata.

    Raises:
        IMAGDressingError: the folder cannot be written or has no room.
    """
    tensors = {
        name: tensor.to("cpu", copy=True).contiguous()  # of views a copy, which the format asks for
        for i, image in enumerate(garment.images)
        for name, tensor in _named_tensors(i, image)
    }
    origins = json.dumps([asdict(image.origin) for image in garment.images])
    save_whole(tensors, path, {FORMAT_KEY: FORMAT, VERSION_KEY: __version__, ORIGINS_KEY: origins})


def load_garment(path: Path) -> Garment:
    """Read a garment that :func:`save_garment` wrote. Nothing of it stays mapped to the file, which may change or go.

    Raises:
        IMAGDressingError: the file is missing, damaged, something else, of a newer format, or holds what no garment
            has: missing or misshapen tensors, NaN.
    """
    with reading(path, "Save the garment again with Save Garment."), open_safetensors(path) as file:
        metadata = file.metadata()
        names = set(file.keys())
        _require_format(path, metadata)
        origins = _origins(path, metadata, most=len(names) // len(LAYERS))
        kind = LayerFeatures if f"0.c.{LAYERS[0].index}" in names else LayerKV
        _require_names(path, names, len(origins), kind)
        tensors = {name: file.get_tensor(name) for name in names}
    return Garment(tuple(_image(path, i, origin, kind, tensors) for i, origin in enumerate(origins)))


def _named_tensors(i: int, image: GarmentImage) -> Iterator[tuple[str, Tensor]]:
    for index, layer in image.layers.items():
        for name, tensor in layer.tensors.items():
            yield f"{i}.{name}.{index}", tensor
    if image.thumbnail is not None:
        yield f"{i}.thumbnail", image.thumbnail


def _require_format(path: Path, metadata: dict[str, str]) -> None:
    found = metadata.get(FORMAT_KEY)
    if found is None:
        raise IMAGDressingError(
            f"{path.name} is no saved garment: it does not say so in its header. Choose a file that Save Garment wrote."
        )
    if found != FORMAT:
        raise IMAGDressingError(
            f"{path.name} is a garment of format {shown(found)}, saved by version {shown(metadata.get(VERSION_KEY))}; "
            f"this is version {__version__}, which reads format {FORMAT}. Update ComfyUI-IMAGDressing or save it again."
        )


def _origins(path: Path, metadata: dict[str, str], most: int) -> list[Origin]:
    """Return the origins of the images. most: the largest number of images that the file can hold the tensors of."""
    try:
        entries: list[dict[str, Any]] = json.loads(metadata[ORIGINS_KEY])
        if 0 < len(entries) <= most:
            origins = [Origin(**entry) for entry in entries]
            if all(_is_whole(origin) for origin in origins):
                return origins
    except (KeyError, RecursionError, TypeError, ValueError):
        pass
    raise IMAGDressingError(
        f"{path.name} does not say where its garment comes from: its header is damaged. Save the garment again."
    )


def _is_whole(origin: Origin) -> bool:
    texts, sides = (origin.checkpoint, origin.fingerprint, origin.fit), (origin.width, origin.height)
    return all(isinstance(text, str) and len(text) <= LONGEST_NAME for text in texts) and all(
        type(side) is int and 0 < side <= LARGEST_SIDE for side in sides
    )


def _require_names(path: Path, names: set[str], images: int, kind: type[GarmentLayer]) -> None:
    needed = {f"{i}.{part.name}.{layer.index}" for i in range(images) for part in fields(kind) for layer in LAYERS}
    allowed = needed | {f"{i}.thumbnail" for i in range(images)}
    wrong = sorted(needed - names) or sorted(names - allowed)
    if wrong:
        state = "missing" if wrong[0] in needed else "not part of a garment"
        raise IMAGDressingError(
            f"{path.name} is no whole garment: {len(wrong)} tensors are {state} (first: {shown(wrong[0])}). "
            "Save the garment again."
        )


def _image(path: Path, i: int, origin: Origin, kind: type[GarmentLayer], tensors: Mapping[str, Tensor]) -> GarmentImage:
    layers = {layer.index: _layer(path, i, layer, kind, tensors) for layer in LAYERS}
    return GarmentImage(layers, origin, _thumbnail(tensors.get(f"{i}.thumbnail")))


def _layer(
    path: Path, i: int, layer: SelfAttentionLayer, kind: type[GarmentLayer], tensors: Mapping[str, Tensor]
) -> GarmentLayer:
    names = {part.name: f"{i}.{part.name}.{layer.index}" for part in fields(kind)}
    tokens = tensors[next(iter(names.values()))].shape[1:2]
    for name in names.values():
        problem = _problem(tensors[name], (1, *tokens, layer.channels))
        if problem:
            raise IMAGDressingError(f"{path.name} is no garment: {name} {problem}. Save the garment again.")
    return kind(**{part: tensors[name] for part, name in names.items()})


def _problem(tensor: Tensor, shape: tuple[int, ...]) -> str | None:
    """Return what is wrong with a layer's tensor, or None."""
    if tensor.ndim != 3 or tensor.shape != shape or not tensor.numel():
        return f"is {tuple(tensor.shape)}, expected (1, tokens, {shape[-1]}) with as many tokens in all parts"
    if tensor.dtype not in DTYPES.values():
        return f"is {tensor.dtype}, expected float16, bfloat16 or float32"
    if not is_usable(tensor):
        return "holds NaN, infinite values or larger ones than fp16 holds"
    return None


def _thumbnail(tensor: Tensor | None) -> Tensor | None:
    """Return the thumbnail, or None where it is no image: it is for looking at only."""
    is_image = tensor is not None and tensor.ndim == 3 and tensor.shape[-1] == 3 and tensor.dtype == torch.uint8
    return tensor if is_image else None
