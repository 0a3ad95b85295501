"""A training entry: a person, the garment they wear, and captions; many of them in little memory."""

import hashlib
import io
import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import IMAGDressingError
from ..images.reading import upright_on_white

HEADER = 2**18  # bytes of an image file, enough for what comes before its pixels


@dataclass(frozen=True)
class ImageSource:
    """An image that is read when it is needed.

    Attributes:
        name: What errors call it.
        path: The file that holds it.
        start: Where it begins in the file, in bytes.
        size: Its length in bytes; -1 for the rest of the file.
    """

    name: str
    path: str
    start: int = 0
    size: int = -1

    def content(self, limit: int | None = None) -> bytes:
        """Return the image file's bytes, the first ``limit`` of them at most.

        Raises:
            IMAGDressingError: The file is missing or unreadable.
        """
        try:
            with Path(self.path).open("rb") as file:
                file.seek(self.start)
                return file.read(self.size if limit is None else limit)
        except FileNotFoundError as error:
            raise IMAGDressingError(f"{self.name} does not exist.") from error
        except (OSError, ValueError) as error:
            raise IMAGDressingError(f"{self.name} cannot be read: {error}") from error

    @property
    def digest(self) -> str:
        """Sha256 of the image file, by which a cache knows it."""
        return hashlib.sha256(self.content()).hexdigest()

    def size_in_pixels(self) -> tuple[int, int]:
        """Return width and height of the upright image, from the beginning of its file where that says them.

        Raises:
            IMAGDressingError: The file is missing, unreadable or cut off.
        """
        try:
            with Image.open(io.BytesIO(self.content(HEADER))) as file:
                is_turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                width, height = file.size
                return (height, width) if is_turned else (width, height)
        except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
            return self.open().size

    def open(self) -> Image.Image:
        """Return the image in RGB, turned upright, on white where it is transparent.

        Raises:
            IMAGDressingError: The file is missing, unreadable or cut off.
        """
        try:
            with Image.open(io.BytesIO(self.content())) as file:
                return upright_on_white(file)
        except IMAGDressingError:
            raise
        except UnidentifiedImageError as error:
            raise IMAGDressingError(f"{self.name} cannot be read as an image: its content is no image file.") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise IMAGDressingError(f"{self.name} cannot be read as an image: {error}") from error


@dataclass(frozen=True)
class TrainingPair:
    """One training entry. ``name`` is what errors call it."""

    name: str
    person: ImageSource
    garment: ImageSource
    captions: tuple[str, ...]


class PackedPairs(Sequence[TrainingPair]):
    """Pairs stored as one block of bytes: worker processes share its memory, where Python objects would be copied.

    Attributes:
        broken: What is wrong with the entries that were left out.
        digest: Sha256 of all captions and file names. Equal on machines that keep the same data in other folders.
    """

    def __init__(self, entries: Iterable[TrainingPair | IMAGDressingError]) -> None:
        packed: list[bytes] = []
        broken: list[str] = []
        digest = hashlib.sha256()
        for entry in entries:
            if isinstance(entry, IMAGDressingError):
                broken.append(str(entry))
                continue
            packed.append(pickle.dumps(entry, pickle.HIGHEST_PROTOCOL))
            files = [Path(image.name).name for image in (entry.person, entry.garment)]
            digest.update(json.dumps([files, entry.captions]).encode())
        self._bytes = b"".join(packed)
        self._ends = [0, *accumulate(len(one) for one in packed)]
        self.broken = tuple(broken)
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        place = range(len(self))[i]
        return pickle.loads(memoryview(self._bytes)[self._ends[place] : self._ends[place + 1]])


def entry_or_error(read: Callable[..., TrainingPair], *args: Any) -> TrainingPair | IMAGDressingError:
    """Return what ``read`` returns, or the error that it raises."""
    try:
        return read(*args)
    except IMAGDressingError as error:
        return error


def parse_json(content: bytes | None, name: str) -> Any:
    if content is None:
        raise IMAGDressingError(f"{name} does not exist.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise IMAGDressingError(f"{name} is no JSON: {error}") from error


def captions_of(entry: dict[str, Any], key: str, name: str) -> tuple[str, ...]:
    value = entry.get(key)
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not captions:
        raise IMAGDressingError(f"{name} has no captions under {key}: found {value!r}.")
    empty = [caption for caption in captions if not isinstance(caption, str) or not caption.strip()]
    if empty:
        raise IMAGDressingError(f"{name} has an empty caption under {key}: found {empty[0]!r}.")
    return tuple(captions)
