"""Pairs of a person and the garment they wear: reading the three formats, and checking every entry before training.

A broken entry does not end the reading. An IMAGDressingError stands in its place, and the caller decides.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from PIL.Image import Resampling
from torch import Tensor

from ..errors import IMAGDressingError
from ..images.preprocess import FITS
from ..on_diffusers.pipeline import clip_pixels, vae_pixels
from .buckets import person_size
from .config import Data
from .pairs import ImageSource, PackedPairs, TrainingPair, captions_of, entry_or_error, parse_json
from .shards import read_shards

MANIFEST = "manifest.jsonl"
SMALLEST_SIDE = 64
STEEPEST_ASPECT = 4


def read_pairs(data: Data) -> Iterator[TrainingPair | IMAGDressingError]:
    """Read all entries of ``data`` in order; an error stands for each broken one.

    Raises:
        IMAGDressingError: Nothing can be read at all.
    """
    if data.format == "igpair":
        return _igpair(Path(data.path), data.root)
    if data.format == "folder":
        return _folder(Path(data.path))
    return read_shards(data.path, data.copies)


def whole_pairs(data: Data) -> PackedPairs:
    """Read all entries. Images are not opened.

    Raises:
        IMAGDressingError: More entries are broken than ``data.skip_broken``, or there are none.
    """
    pairs = PackedPairs(read_pairs(data))
    if len(pairs.broken) > data.skip_broken:
        raise IMAGDressingError(
            f"{len(pairs.broken)} of {len(pairs) + len(pairs.broken)} entries of {data.path} are broken, "
            f"data.skip_broken is {data.skip_broken} (first: {pairs.broken[0]}). The command check names all of them."
        )
    if not pairs:
        raise IMAGDressingError(f"{data.path} has no entries.")
    return pairs


def check(data: Data) -> Iterator[str]:
    """Open every image once and yield one line for each problem with ``data``."""
    entries = read_pairs(data)
    seen: set[str] = set()
    count = 0
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(entries, 256)):
            count += len(chunk)
            yield from (str(entry) for entry in chunk if isinstance(entry, IMAGDressingError))
            pairs = [entry for entry in chunk if isinstance(entry, TrainingPair)]
            tasks = {image.name: (pair, image) for pair in reversed(pairs) for image in (pair.garment, pair.person)}
            new = [tasks[name] for name in reversed(tasks) if name not in seen]
            seen.update(tasks)
            yield from filter(None, pool.map(lambda task: _image_problem(task[0], task[1], data), new))
    if not count:
        yield f"{data.path} has no entries."


def cover(image: Image.Image, width: int, height: int, across: float = 0.5, down: float = 0.5) -> Image.Image:
    """Scale an image until it covers ``width`` × ``height`` and crop it at ``across`` and ``down``, 0 … 1.

    For images at least as tall as 4:5 this is the official Resize and RandomCrop. Those fail on wider images, which
    lose their sides here.
    """
    return ImageOps.fit(image, (width, height), Resampling.BILINEAR, centering=(across, down))


def person_pixels(image: Image.Image, data: Data, across: float = 0.5, down: float = 0.5) -> Tensor:
    """Return a person as the VAE sees it, cropped as by :func:`cover`: (1, 3, height, width), −1 … 1."""
    return vae_pixels([cover(image, *person_size(data, image.size), across, down)])


def garment_pixels(image: Image.Image, data: Data) -> tuple[Tensor, Tensor]:
    """Return a garment as the VAE sees it, (1, 3, height, width), −1 … 1, and as CLIP does, (1, 3, 224, 224)."""
    fitted = FITS[data.fit](image, data.width, data.height)
    return vae_pixels([fitted.vae]), clip_pixels([fitted.clip])


def _igpair(path: Path, root: Path) -> Iterator[TrainingPair | IMAGDressingError]:
    content = parse_json(path.read_bytes() if path.is_file() else None, str(path))
    if not isinstance(content, list):
        raise IMAGDressingError(f"{path} holds a {type(content).__name__}; IGPair's JSON is a list of entries.")
    keys = ("image_file", "cloth_file", "text")
    for i, entry in enumerate(content):
        yield entry_or_error(_pair_of_entry, entry, f"{path.name} entry {i}", root, keys)


def _folder(folder: Path) -> Iterator[TrainingPair | IMAGDressingError]:
    path = folder / MANIFEST
    if not path.is_file():
        raise IMAGDressingError(f"{path} does not exist: a folder of pairs needs it, one JSON object on each line.")
    for i, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            yield entry_or_error(_pair_of_line, line, f"{path} line {i}", folder)


def _pair_of_line(line: bytes, name: str, folder: Path) -> TrainingPair:
    return _pair_of_entry(parse_json(line, name), name, folder, ("person", "garment", "captions"))


def _pair_of_entry(entry: Any, name: str, root: Path, keys: tuple[str, str, str]) -> TrainingPair:
    if not isinstance(entry, dict):
        raise IMAGDressingError(f"{name} is a {type(entry).__name__}, expected an object with {', '.join(keys)}.")
    person, garment = (str(root / _path(entry, key, name)) for key in keys[:2])
    captions = captions_of(entry, keys[2], name)
    return TrainingPair(name, ImageSource(person, person), ImageSource(garment, garment), captions)


def _path(entry: dict[str, Any], key: str, name: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise IMAGDressingError(f"{name} names no {key}: found {value!r}.")
    return value


def _image_problem(pair: TrainingPair, image: ImageSource, data: Data) -> str | None:
    try:
        width, height = image.open().size
    except IMAGDressingError as error:
        return f"{pair.name}: {error}"
    side = min(data.width, data.height)
    smallest = min(side, max(SMALLEST_SIDE, side // 4))
    if min(width, height) < smallest:
        return (
            f"{pair.name}: {image.name} is {width} × {height}: at {data.width} × {data.height} no side may have less "
            f"than {smallest} pixels."
        )
    if max(width, height) > STEEPEST_ASPECT * min(width, height):
        return f"{pair.name}: {image.name} is {width} × {height}, more than {STEEPEST_ASPECT} to 1."
    return None
