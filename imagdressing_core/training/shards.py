"""WebDataset's tar files as pairs that can be read at any position, so that a run resumes where it stopped."""

import hashlib
import re
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from ..errors import IMAGDressingError
from ..files.storage import written_whole
from .pairs import ImageSource, TrainingPair, captions_of, entry_or_error, parse_json

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
_REMOTE = re.compile(r"pipe:|\w+://")

Files = dict[str, tuple[int, int]]
"""The files of one sample in a tar: {suffix: (start, size)}, in bytes."""


def shard_names(path: str) -> list[str]:
    """Return the shards that a glob or a brace expression (``{000..127}``, also of a URL) stands for, in order.

    Raises:
        IMAGDressingError: There are none.
    """
    from webdataset.shardlists import expand_urls

    def matching(name: str) -> list[str]:
        if _REMOTE.match(name) or not any(sign in name for sign in "*?["):
            return [name]
        return sorted(str(found) for found in Path(name).parent.glob(Path(name).name))

    names = [name for one in expand_urls(path) for name in matching(one)]
    if not names:
        raise IMAGDressingError(f"No shards match {path}.")
    return names


def read_shards(path: str, copies: Path | None = None) -> Iterator[TrainingPair | IMAGDressingError]:
    """Read the index of all shards; images stay in the tar files, each sample ``<key>.{person.jpg,garment.jpg,json}``.

    The JSON is {"captions": [text, …]}.

    Args:
        path: A glob or a brace expression; the names may be URLs and ``pipe:`` commands, as WebDataset opens them.
        copies: The folder to copy such shards to. A copy that is there is used.

    Raises:
        IMAGDressingError: A shard cannot be read.
    """
    files = [_local(name, copies) for name in shard_names(path)]
    with ThreadPoolExecutor(8) as pool:
        for entries in pool.map(_read_shard, files):
            yield from entries


def _local(name: str, copies: Path | None) -> str:
    if not _REMOTE.match(name):
        return name
    if copies is None:
        raise IMAGDressingError(
            f"{name} is not a file on this machine, and training reads shards at any position. Set data.copies to a "
            "folder with room for all shards; they are copied there once."
        )
    from webdataset.gopen import gopen

    target = copies / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{PurePosixPath(name).name[-80:]}"
    try:
        if not target.exists():
            with written_whole(target) as unfinished, gopen(name) as source, unfinished.open("wb") as file:
                shutil.copyfileobj(source, file)
    except Exception as error:  # whatever the protocol's client raises
        raise IMAGDressingError(f"{name} could not be copied to {copies}: {error.__cause__ or error}") from error
    return str(target)


def _read_shard(path: str) -> list[TrainingPair | IMAGDressingError]:
    samples: dict[str, Files] = {}
    texts: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            last = -1
            for member in tar:
                if member.offset <= last or member.size < 0:
                    raise tarfile.ReadError("its members overlap")
                last = member.offset
                folder, _, file = member.name.rpartition("/")
                key, dot, suffix = file.partition(".")
                if member.isreg() and dot:
                    key = f"{folder}/{key}" if folder else key
                    samples.setdefault(key, {})[suffix.lower()] = member.offset_data, member.size
                    content = tar.extractfile(member) if suffix == "json" else None
                    if content is not None:
                        texts[key] = content.read()
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise IMAGDressingError(
            f"Shard {path} cannot be read: {error}. Shards are uncompressed tar files; write it again."
        ) from error
    return [entry_or_error(_pair_of_sample, path, key, files, texts.get(key)) for key, files in samples.items()]


def _pair_of_sample(shard: str, key: str, files: Files, text: bytes | None) -> TrainingPair:
    name = f"{shard} sample {key}"
    entry = parse_json(text, f"{name}.json")
    if not isinstance(entry, dict):
        raise IMAGDressingError(f"{name}.json is no object.")
    person, garment = (_image(shard, name, part, files) for part in ("person", "garment"))
    return TrainingPair(name, person, garment, captions_of(entry, "captions", name))


def _image(shard: str, name: str, part: str, files: Files) -> ImageSource:
    for suffix in IMAGE_SUFFIXES:
        place = files.get(f"{part}.{suffix}")
        if place is not None:
            return ImageSource(f"{name}.{part}", shard, *place)
    raise IMAGDressingError(f"{name} has no image {part}.{{{','.join(IMAGE_SUFFIXES)}}}.")
