"""What a report was made by: version, command, digests of weights, device and date, for every file that is written."""

import contextlib
import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..command_line import add_file, made_by
from .weights import FACE, Weights

PACKAGES = ("torch", "transformers", "diffusers", "torchmetrics", "insightface", "opencv-python-headless",
            "scikit-image", "scipy")  # fmt: skip
BYTES = 16


def provenance(task: Mapping[str, str], device: str, processes: int) -> dict[str, str]:
    """Return all that is known of a report's origin, by name. Two reports of the same ``run`` may be compared.

    Args:
        task: By name, everything that the scores depend on but the images.
        device: The device of the models.
        processes: The number of processes that shared the work.
    """
    packages: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "run": text_digest(repr(sorted(task.items())))[:12],
        **task,
        **made_by(),
        "device": device,
        "processes": str(processes),
        "python": f"{platform.python_version()} on {platform.platform()}",
        **packages,
    }


def text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=BYTES).hexdigest()


def file_digest(path: Path) -> str | None:
    """Return a digest of the file's content; None where it cannot be read."""
    found = hashlib.blake2b(digest_size=BYTES)
    try:
        add_file(found, path)
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
