"""What the learned metrics need beyond the pack: packages of the ``evaluation`` extra, and published weights."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import IMAGDressingError, first_line

INSTALL = f'pip install "{Path(__file__).resolve().parents[2]}[evaluation]"'
"""Installs the extra from the pack's own folder: right wherever it lies, and whatever it is called in a registry."""


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
    except Exception as error:  # each library has its own ways to fail
        reason = first_line(error)
        raise IMAGDressingError(
            f"{what} could not be loaded from {weights}: {reason}. "
            f"Download it from {source} and give its path in place of {weights}."
        ) from error


def weight_file(weights: str, name: str) -> Path:
    """Return the file ``name`` of published weights: ``weights`` is that file, the folder it is in, or a hub id."""
    path = Path(weights).expanduser()
    if path.is_dir():
        path /= name
    is_hub_id = weights.count("/") == 1 and not path.suffix and not path.parent.exists()
    if path.is_file() or not is_hub_id:
        return path
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(weights, name))
