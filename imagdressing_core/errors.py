"""The exception whose message is written for the person at the screen, and what its messages share."""

import sys
from collections.abc import Callable

LONGEST_SHOWN = 100  # letters


class IMAGDressingError(ValueError):
    """Something the user can mend: the message says what is wrong, where, what was found and what to do."""

    __module__ = "imagdressing_core"  # the editor shows it, where ComfyUI's name of a pack is a path


def require_between(socket: str, value: float, low: float, high: float) -> None:
    """Raise IMAGDressingError unless ``low`` ≤ value ≤ ``high``: ComfyUI checks widgets, not what comes over a link.

    NaN is outside of everything; ComfyUI lets it through widgets too.
    """
    if not low <= value <= high:
        raise IMAGDressingError(
            f"{socket} is {value:g}, which is outside {low:g} to {high:g}. Choose a value in between."
        )


def shown(found: object) -> str:
    """Return what a file or an input holds as text for a message: short, and printable on any screen and in any log."""
    text = str(found)
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def run_command(command: Callable[[], object]) -> None:
    """Run a command line; an IMAGDressingError ends the process with its message, no trace and status 2."""
    try:
        command()
    except IMAGDressingError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
