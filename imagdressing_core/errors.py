"""The exception whose message is written for the person at the screen, and helpers for such messages.

Most failures are raised. Where one broken item of many must not end a run, the exception is kept as a value in the
place of the result: an evaluation's :class:`~.metrics.outcome.NoScore`, an entry of a training set that cannot be read.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

INSTALL = f'pip install "{Path(__file__).resolve().parents[1]}[{{}}]"'
"""The command that installs an extra from the pack's own folder, wherever it lies and whatever a registry calls it."""

LONGEST_SHOWN = 100  # letters


class IMAGDressingError(ValueError):
    """Something the user can mend: the message says what is wrong, where, what was found and what to do."""

    __module__ = "imagdressing_core"  # the editor shows it, where ComfyUI's name of a pack is a path


def require_between(socket: str, value: float, low: float, high: float) -> None:
    """Raise IMAGDressingError unless ``low`` ≤ value ≤ ``high``: ComfyUI checks widgets, not what comes over a link.

    NaN is outside of everything; ComfyUI lets it through widgets too.
    """
    if not isinstance(value, int | float):
        raise IMAGDressingError(f"{socket} is {value!r}, which is no number: look at the node wired to it.")
    if not low <= value <= high:
        raise IMAGDressingError(
            f"{socket} is {value:g}, which is outside {low:g} to {high:g}. Choose a value in between."
        )


def shown(found: object) -> str:
    """Return the content of a file or an input as text for a message: short, and printable on any screen."""
    text = str(found)
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def first_line(error: Exception) -> str:
    """Return the first line of what an exception says, or its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


@contextlib.contextmanager
def packages(use: str, extra: str = "evaluation") -> Iterator[None]:
    """Import optional packages in the block.

    Args:
        use: The purpose of the packages, as the beginning of a sentence.
        extra: The extra of this project that brings them.

    Raises:
        IMAGDressingError: a package is missing; the message has the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise IMAGDressingError(
            f"{use} needs the package {missing}, which cannot be imported. {INSTALL.format(extra)}"
        ) from error
