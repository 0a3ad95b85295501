"""What the learned metrics need beyond the pack: packages of the ``evaluation`` extra, and published weights."""

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from ..errors import IMAGDressingError

INSTALL = 'pip install "comfyui-imagdressing[evaluation]"'
UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, pickle.UnpicklingError, SafetensorError)


@contextlib.contextmanager
def packages(use: str) -> Iterator[None]:
    """Import optional packages inside. use: what they are for, the beginning of a sentence.

    Raises:
        IMAGDressingError: one is missing; the message has the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise IMAGDressingError(f"{use} needs the package {missing}, which cannot be imported. {INSTALL}") from error


@contextlib.contextmanager
def published(what: str, weights: str, source: str) -> Iterator[None]:
    """Load published weights inside.

    what: the model, the beginning of a sentence; weights: the path or hub id that was asked for; source: where the
    weights are published.

    Raises:
        IMAGDressingError: they cannot be found, fetched or read; the message says where they come from and belong.
    """
    try:
        yield
    except IMAGDressingError:
        raise
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
        raise IMAGDressingError(
            f"{what} could not be loaded from {weights}: {reason}. "
            f"Download it from {source} and give its path in place of {weights}."
        ) from error


def weight_file(weights: str, name: str) -> Path:
    """Return the file ``name`` of published weights: ``weights`` is that file, the folder it is in, or a hub id."""
    path = Path(weights).expanduser()
    if path.is_dir():
        path = path / name
    if path.is_file():
        return path
    if path.is_absolute() or path.suffix or (path.parent.is_dir() and len(path.parts) != 2):
        raise FileNotFoundError(f"{path} does not exist")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(weights, name))
