"""Every reader of what strangers send, with a strategy for hostile input. A reader returns, or says why it refuses."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_input
import pickles
import torch
from hostile_input import one_of, pixels
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from imagdressing_core.application.strengths import factor_at, parse_layers, parse_schedule
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import read_checkpoint
from imagdressing_core.files.garment_file import load_garment
from imagdressing_core.images.paste import paste_back
from imagdressing_core.images.preprocess import (
    FITS,
    fit_mask,
    images_from_tensor,
    preview,
    tensor_from_images,
    thumbnail,
)
from imagdressing_core.metrics.manifest import Method, read_manifest
from imagdressing_core.training.config import Data
from imagdressing_core.training.data import read_pairs, whole_pairs
from imagdressing_core.training.pairs import TrainingPair

LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Reader:
    """inputs: hostile ones. read: has one read, in a folder for files."""

    inputs: SearchStrategy[Any]
    read: Callable[[Any, Path], object]


def reads_or_refuses(
    reader: Reader,
    folder: Path,
    watched: Callable[[], AbstractContextManager[None]] = nullcontext,
    told: Callable[[bool], None] = lambda refused: None,
) -> Any:
    """Return hypothesis' test of a reader: hostile input is read, or refused with a short and printable message.

    Args:
        watched: what each reading happens in.
        told: is told of each input whether it was refused.
    """

    @given(reader.inputs)
    def test(given_input: Any) -> None:
        message = None
        with watched():
            try:
                reader.read(given_input, folder)
            except IMAGDressingError as error:
                message = str(error)
        if message is not None:
            assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} letters"
            message.encode()
        told(message is not None)

    return test


def _checkpoint(path: Path) -> object:
    """Read a checkpoint as Load IMAGDressing Model does: ahead, and with its fingerprint taken."""
    checkpoint = read_checkpoint(path, lambda *_: None)
    return checkpoint.fingerprint, checkpoint.dtype, checkpoint.nbytes


def _garment(path: Path) -> object:
    garment = load_garment(path)
    path.write_bytes(b"")  # whatever becomes of the file, the garment stays
    assert all(
        torch.isfinite(tensor).all()
        for image in garment.images
        for layer in image.layers.values()
        for tensor in layer.tensors.values()
    )
    return garment.nbytes


def _file(content: hostile_input.Bytes, read: Callable[[Path], object], suffix: str) -> Reader:
    """Return a reader of files; some of them are any bytes at all."""

    def write_and_read(content: bytes, folder: Path) -> object:
        path = folder / f"hostile{suffix}"
        path.write_bytes(content)
        return read(path)

    return Reader(hostile_input.mostly(content, st.binary(max_size=4096), 20), write_and_read)


def _layers(text: str, _: Path) -> None:
    assert all(abs(weight) <= 100 for weight in parse_layers(text).values())


def _schedule(text: str, _: Path) -> None:
    schedule = parse_schedule(text)
    assert all(abs(factor_at(schedule, i / 7)) <= 100 for i in range(8))


def _image(given: tuple[Tensor, Tensor | None, str], _: Path) -> object:
    """Bring an image to size as Encode Garment does."""
    image, masks, fit = given
    images = images_from_tensor(image, masks)
    fitted = [FITS[fit](image, 64, 80) for image in images]
    seen = tensor_from_images([image.vae for image in fitted])
    assert seen.shape[1:] == (80, 64, 3) and torch.isfinite(seen).all()
    return [preview(image) for image in fitted], [thumbnail(image) for image in images]


def _mask(given: tuple[Tensor, Tensor, int, bool, str], _: Path) -> None:
    """Use a mask wherever one may be: marking the garment, and pasting back."""
    mask, generated, feather, match_color, fit = given
    original = torch.full((1, 40, 33, 3), 0.5)
    assert torch.isfinite(paste_back(original, generated, mask, feather, match_color)).all()
    (image,) = images_from_tensor(original, mask)
    assert fit_mask(mask[0], image.size, fit, 64, 80).shape == (80, 64)


def _manifest(given: tuple[str, bytes], folder: Path) -> None:
    suffix, content = given
    path = folder / f"hostile{suffix}"
    path.write_bytes(content)
    method = Method("ours", folder / "ours")
    # An image's name decides where results go beside it, so it leads nowhere else.
    assert all((method.folder / c.file_name).resolve().is_relative_to(method.folder) for c in read_manifest(path))


def _training_pairs(given: tuple[str, bytes], folder: Path) -> object:
    """Read what training reads of its data: broken entries come back as refusals, and the rest are named."""
    kind, content = given
    path = folder / ("pairs.json" if kind == "igpair" else "manifest.jsonl")
    path.write_bytes(content)
    data = Data("igpair", str(path), folder) if kind == "igpair" else Data("folder", str(folder))
    assert all(isinstance(entry, TrainingPair) or len(str(entry)) <= LONGEST_MESSAGE for entry in read_pairs(data))
    return whole_pairs(data)


ANY_FIT = one_of(*FITS)
IGPAIR = hostile_input.training_pairs(("image_file", "cloth_file", "text"), json.dumps)
FOLDER = hostile_input.training_pairs(
    ("person", "garment", "captions"), lambda found: "\n".join(map(json.dumps, found))
)
ANY_PAIRS = st.tuples(st.just("igpair"), IGPAIR) | st.tuples(st.just("folder"), FOLDER)
READERS = {
    "checkpoint .pt": _file(pickles.ZIP_CHECKPOINTS, _checkpoint, ".pt"),
    "checkpoint .pt before zip": _file(pickles.LEGACY_CHECKPOINTS, _checkpoint, ".pt"),
    "checkpoint .safetensors": _file(hostile_input.safetensors_checkpoints(), _checkpoint, ".safetensors"),
    "saved garment": _file(hostile_input.saved_garments(), _garment, ".safetensors"),
    "manifest": Reader(hostile_input.manifests(), _manifest),
    "training pairs": Reader(ANY_PAIRS, _training_pairs),
    "layer weights": Reader(hostile_input.WEIGHTS_TEXTS, _layers),
    "schedule": Reader(hostile_input.WEIGHTS_TEXTS, _schedule),
    "image": Reader(st.tuples(pixels(4, (1, 2, 3, 4)), st.none() | pixels(3), ANY_FIT), _image),
    "mask": Reader(st.tuples(pixels(3), pixels(4, (3, 4)), one_of(0, 8, 256), st.booleans(), ANY_FIT), _mask),
}
