"""Digests of texts, files and published weights, by which runs and scores are told apart."""

import hashlib
from pathlib import Path

from .weights import FACE, Weights

BYTES = 16
CHUNK = 1 << 22


def text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=BYTES).hexdigest()


def file_digest(path: Path) -> str | None:
    """Return a digest of the file's content; None where it cannot be read."""
    found = hashlib.blake2b(digest_size=BYTES)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except OSError:
        return None
    return found.hexdigest()


def weights_digest(weights: Weights, path: str) -> str:
    """Return a digest of weights that have been loaded: of the file or of all files in the folder.

    Of weights from the hub return the revision, a digest too, with which the hub names the folder of its cache.
    """
    found = Path(path).expanduser()
    if weights is FACE and not found.exists():
        found = Path("~/.insightface/models").expanduser() / path  # insightface's own place
    if found.is_dir():
        files = sorted(one for one in found.rglob("*") if one.is_file() and ".cache" not in one.parts)
        return text_digest("\n".join(f"{one.relative_to(found).as_posix()} {file_digest(one)}" for one in files))
    if found.is_file():
        return file_digest(found) or "unreadable"
    from huggingface_hub import snapshot_download

    try:
        return f"revision {Path(snapshot_download(path, local_files_only=True)).name}"
    except (OSError, ValueError):
        return "unknown"
