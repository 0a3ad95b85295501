"""Pairs of a person and the garment worn: reading the formats they come in, and checking every one before training."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from PIL.Image import Resampling

from ..errors import IMAGDressingError
from .config import Data

MANIFEST = "manifest.jsonl"
SHARD_PERSON, SHARD_GARMENT, SHARD_TEXT = "person", "garment", "json"
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
SMALLEST_SIDE = 64
STEEPEST_ASPECT = 4


@dataclass(frozen=True)
class ImageSource:
    """An image not yet read: a file, or the bytes of one member of a shard. name: what an error calls it."""

    name: str
    content: bytes | None = None

    @property
    def digest(self) -> str:
        """What a cache knows the image by."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    def open(self) -> Image.Image:
        """Return it in RGB, turned upright, on white where it is transparent.

        Raises:
            IMAGDressingError: it is missing, unreadable or cut off.
        """
        try:
            with Image.open(self.name if self.content is None else io.BytesIO(self.content)) as file:
                image = ImageOps.exif_transpose(file).convert("RGBA")
        except FileNotFoundError as error:
            raise IMAGDressingError(f"{self.name} does not exist.") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise IMAGDressingError(f"{self.name} cannot be read as an image: {error}") from error
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@dataclass(frozen=True)
class TrainingPair:
    """One training entry. name: what an error calls it."""

    name: str
    person: ImageSource
    garment: ImageSource
    captions: tuple[str, ...]


Problem = IMAGDressingError


def read_pairs(data: Data, path: str | None = None) -> Iterator[TrainingPair | Problem]:
    """Read all entries of ``data`` in order, and in place of each broken one what is wrong with it.

    path: other data in the same format, such as those kept back for validation.

    Raises:
        IMAGDressingError: nothing can be read at all.
    """
    where = path or data.path
    if data.format == "igpair":
        return _igpair(Path(where), data.root)
    if data.format == "folder":
        return _folder(Path(where))
    return read_shards(shard_names(where))


def whole_pairs(data: Data, path: str | None = None) -> list[TrainingPair]:
    """Read all entries, none of them broken; whether the images can be read is not looked at.

    Raises:
        IMAGDressingError: some are broken, or there are none.
    """
    entries = list(read_pairs(data, path))
    problems = [entry for entry in entries if isinstance(entry, IMAGDressingError)]
    if problems:
        raise IMAGDressingError(
            f"{len(problems)} of {len(entries)} entries of {path or data.path} are broken (first: {problems[0]}). "
            "The command check names all of them."
        )
    if not entries:
        raise IMAGDressingError(f"{path or data.path} has no entries.")
    return [entry for entry in entries if isinstance(entry, TrainingPair)]


def check(data: Data, path: str | None = None) -> Iterator[str]:
    """Yield what is wrong with ``data``, one line for each problem, every image opened once."""
    images: set[str] = set()
    pairs: list[TrainingPair] = []

    def unseen(image: ImageSource) -> bool:
        return image.name not in images and not images.add(image.name)

    def problems(pairs: list[TrainingPair]) -> Iterator[str]:
        tasks = [(pair, image) for pair in pairs for image in (pair.person, pair.garment) if unseen(image)]
        with ThreadPoolExecutor() as pool:
            for found in pool.map(lambda task: _image_problem(task[0], task[1], data), tasks):
                yield from found

    for entry in read_pairs(data, path):
        if isinstance(entry, IMAGDressingError):
            yield str(entry)
            continue
        pairs.append(entry)
        if len(pairs) == 256:
            yield from problems(pairs)
            pairs.clear()
    yield from problems(pairs)


def cover(image: Image.Image, width: int, height: int, across: float = 0.5, down: float = 0.5) -> Image.Image:
    """Scale an image until it covers ``width`` × ``height`` and cut that out, at ``across`` and ``down``, 0 … 1.

    For images at least as tall as 4:5 this is the official Resize and RandomCrop; wider ones, at which those fail,
    lose their sides instead.
    """
    return ImageOps.fit(image, (width, height), Resampling.BILINEAR, centering=(across, down))


def shard_names(path: str) -> list[str]:
    """Return the shards that a glob or a brace expression (``{000..127}``, also of a URL) stands for, in order.

    Raises:
        IMAGDressingError: there are none.
    """
    from webdataset.shardlists import expand_urls

    def matching(name: str) -> list[str]:
        if not any(sign in name for sign in "*?["):
            return [name]
        return sorted(str(found) for found in Path(name).parent.glob(Path(name).name))

    names = [name for one in expand_urls(path) for name in matching(one)]
    if not names:
        raise IMAGDressingError(f"No shards match {path}.")
    return names


def read_shards(names: list[str]) -> Iterator[TrainingPair | Problem]:
    """Read shards one after the other: ``<key>.person.<jpg>``, ``<key>.garment.<jpg>`` and ``<key>.json``.

    The JSON is {"captions": [text, …]}. Names may be all that WebDataset opens: files, URLs, ``pipe:`` commands.

    Raises:
        IMAGDressingError: a shard cannot be read.
    """
    from webdataset.compat import WebDataset

    for name in names:
        try:
            samples = WebDataset([name], shardshuffle=False, nodesplitter=_all, workersplitter=_all)
            for sample in samples:
                yield _or_problem(lambda sample=sample, name=name: _pair_of_sample(sample, name))
        except (OSError, tarfile.TarError) as error:
            raise IMAGDressingError(f"Shard {name} cannot be read: {error}") from error


def _all(items: Iterable[Any]) -> Iterable[Any]:
    """Leave the splitting among processes to us."""
    return items


def _igpair(path: Path, root: Path) -> Iterator[TrainingPair | Problem]:
    content = _json(path.read_bytes() if path.is_file() else None, str(path))
    if not isinstance(content, list):
        raise IMAGDressingError(f"{path} holds a {type(content).__name__}; IGPair's JSON is a list of entries.")
    keys = ("image_file", "cloth_file", "text")
    for i, entry in enumerate(content):
        yield _or_problem(lambda i=i, entry=entry: _pair_of_entry(entry, f"{path.name} entry {i}", root, keys))


def _folder(folder: Path) -> Iterator[TrainingPair | Problem]:
    path = folder / MANIFEST
    if not path.is_file():
        raise IMAGDressingError(f"{path} does not exist: a folder of pairs needs it, one JSON object on each line.")
    keys = ("person", "garment", "captions")
    for i, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            name = f"{path} line {i}"
            yield _or_problem(lambda line=line, name=name: _pair_of_entry(_json(line, name), name, folder, keys))


def _or_problem(read: Any) -> TrainingPair | Problem:
    try:
        return read()
    except IMAGDressingError as error:
        return error


def _json(content: bytes | None, name: str) -> Any:
    if content is None:
        raise IMAGDressingError(f"{name} does not exist.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise IMAGDressingError(f"{name} is no JSON: {error}") from error


def _pair_of_entry(entry: Any, name: str, root: Path, keys: tuple[str, str, str]) -> TrainingPair:
    if not isinstance(entry, dict):
        raise IMAGDressingError(f"{name} is a {type(entry).__name__}, expected an object with {', '.join(keys)}.")
    person, garment = (_path(entry, key, name) for key in keys[:2])
    captions = _captions(entry, keys[2], name)
    return TrainingPair(name, ImageSource(str(root / person)), ImageSource(str(root / garment)), captions)


def _path(entry: dict[str, Any], key: str, name: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise IMAGDressingError(f"{name} names no {key}: found {value!r}.")
    return value


def _captions(entry: dict[str, Any], key: str, name: str) -> tuple[str, ...]:
    value = entry.get(key)
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not captions:
        raise IMAGDressingError(f"{name} has no captions under {key}: found {value!r}.")
    empty = [caption for caption in captions if not isinstance(caption, str) or not caption.strip()]
    if empty:
        raise IMAGDressingError(f"{name} has an empty caption under {key}: found {empty[0]!r}.")
    return tuple(captions)


def _pair_of_sample(sample: dict[str, Any], shard: str) -> TrainingPair:
    name = f"{shard} sample {sample.get('__key__')}"
    entry = _json(sample.get(SHARD_TEXT), f"{name}.{SHARD_TEXT}")
    if not isinstance(entry, dict):
        raise IMAGDressingError(f"{name}.{SHARD_TEXT} is no object.")
    person, garment = (_image_of_sample(sample, part, name) for part in (SHARD_PERSON, SHARD_GARMENT))
    return TrainingPair(name, person, garment, _captions(entry, "captions", name))


def _image_of_sample(sample: dict[str, Any], part: str, name: str) -> ImageSource:
    for suffix in IMAGE_SUFFIXES:
        content = sample.get(f"{part}.{suffix}")
        if content is not None:
            return ImageSource(f"{name}.{part}", content)
    raise IMAGDressingError(f"{name} has no image {part}.{{{','.join(IMAGE_SUFFIXES)}}}.")


def _image_problem(pair: TrainingPair, image: ImageSource, data: Data) -> Iterator[str]:
    try:
        width, height = image.open().size
    except IMAGDressingError as error:
        return iter([f"{pair.name}: {error}"])
    smallest = max(SMALLEST_SIDE, min(data.width, data.height) // 4)
    if min(width, height) < min(smallest, data.width, data.height):
        return iter([f"{pair.name}: {image.name} is {width} × {height}, too small for {data.width} × {data.height}."])
    if max(width, height) > STEEPEST_ASPECT * min(width, height):
        return iter([f"{pair.name}: {image.name} is {width} × {height}, more than {STEEPEST_ASPECT} to 1."])
    return iter(())
