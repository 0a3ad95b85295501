"""Every reader of what strangers send, with what makes hostile input for it. A reader returns, or says why not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import making
import pickles
import torch
from making import Random

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

Try = Callable[[Random, Path], object]
"""Makes one hostile input of the choices, in the folder where it needs one, and has it read."""


@dataclass(frozen=True)
class Reader:
    """attempt: makes and reads. seed_file: what the coverage-guided fuzzer may change byte by byte, and its suffix."""

    attempt: Try
    read_file: Callable[[Path], object] | None = None
    suffix: str = ""


def refused(attempt: Callable[[], object]) -> bool:
    """Return whether it was refused; any failure but a refusal in words, short and printable, is raised."""
    try:
        attempt()
    except IMAGDressingError as error:
        message = str(error)
        assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} letters"
        message.encode()
        return True
    return False


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


def _file(make: making.Made, read: Callable[[Path], object], suffix: str) -> Reader:
    def attempt(choose: Random, folder: Path) -> object:
        path = folder / f"hostile{suffix}"
        path.write_bytes(make(choose))
        return read(path)

    return Reader(attempt, read, suffix)


def _layers(choose: Random, _: Path) -> object:
    weights = parse_layers(making.weights_text(choose))
    assert all(abs(weight) <= 100 for weight in weights.values())
    return weights


def _schedule(choose: Random, _: Path) -> object:
    schedule = parse_schedule(making.weights_text(choose))
    assert all(abs(factor_at(schedule, i / 7)) <= 100 for i in range(8))
    return schedule


def _picture(choose: Random, _: Path) -> object:
    """Bring a picture to size as Encode Garment does."""
    masks = None if choose.randrange(2) else making.pixels(choose, 3)
    pictures = images_from_tensor(making.pixels(choose, 4, (1, 2, 3, 4)), masks)
    fitted = [FITS[choose.choice(tuple(FITS))](picture, 64, 80) for picture in pictures]
    seen = tensor_from_images([picture.vae for picture in fitted])
    assert seen.shape[1:] == (80, 64, 3) and torch.isfinite(seen).all()
    return [preview(picture) for picture in fitted], [thumbnail(picture) for picture in pictures]


def _mask(choose: Random, _: Path) -> object:
    """Use a mask wherever one may be: marking the garment, and pasting back."""
    mask = making.pixels(choose, 3)
    original = torch.full((1, 40, 33, 3), 0.5)
    pasted = paste_back(
        original, making.pixels(choose, 4, (3, 4)), mask, choose.choice((0, 8, 256)), bool(choose.randrange(2))
    )
    assert torch.isfinite(pasted).all()
    (picture,) = images_from_tensor(original, mask)
    fitted = fit_mask(mask[0], picture.size, choose.choice(tuple(FITS)), 64, 80)
    assert fitted.shape == (80, 64)
    return fitted


def _manifest(choose: Random, folder: Path) -> object:
    path = folder / f"hostile{choose.choice(('.csv', '.json'))}"
    path.write_bytes(making.manifest(choose, path.suffix))
    cases = read_manifest(path)
    method = Method("ours", folder / "ours")
    # A picture's name decides where results go beside it, so it leads nowhere else.
    assert all((method.folder / case.file_name).resolve().is_relative_to(method.folder) for case in cases)
    return cases


def _training_pairs(choose: Random, folder: Path) -> object:
    """Read what training reads of its data: broken entries come back as refusals, and the rest are named."""
    if choose.randrange(2):
        data = Data("igpair", str(folder / "pairs.json"), folder)
        content = json.dumps(making.pairs(choose, ("image_file", "cloth_file", "text"))).encode()
        path = Path(data.path)
    else:
        data = Data("folder", str(folder))
        content = "\n".join(map(json.dumps, making.pairs(choose, ("person", "garment", "captions")))).encode()
        path = folder / "manifest.jsonl"
    path.write_bytes(content if choose.randrange(3) else making.mutated(choose, content))
    for entry in read_pairs(data):
        assert isinstance(entry, TrainingPair) or len(str(entry)) <= LONGEST_MESSAGE
    return whole_pairs(data)


READERS = {
    "checkpoint .pt": _file(pickles.zip_checkpoint, _checkpoint, ".pt"),
    "checkpoint .pt before zip": _file(pickles.legacy_checkpoint, _checkpoint, ".pt"),
    "checkpoint .safetensors": _file(making.safetensors_checkpoint, _checkpoint, ".safetensors"),
    "saved garment": _file(making.saved_garment, _garment, ".safetensors"),
    "manifest": Reader(_manifest),
    "training pairs": Reader(_training_pairs),
    "layer weights": Reader(_layers),
    "schedule": Reader(_schedule),
    "picture": Reader(_picture),
    "mask": Reader(_mask),
}
