"""What the commands of evaluation, baselines, training and catalogues have in common."""

import sys
from collections.abc import Callable
from io import TextIOWrapper

from .errors import IMAGDressingError, first_line


def run_command(command: Callable[[], object]) -> None:
    """Run a command line; an IMAGDressingError ends the process with its message, no trace and status 2.

    What the console cannot show (Windows' often know 256 letters) becomes a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except IMAGDressingError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


def require_device(name: str) -> None:
    """Raise IMAGDressingError unless PyTorch can use the device of this name: ``cpu``, ``cuda``, ``cuda:1`` …"""
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise IMAGDressingError(
            f"--device {name} cannot be used: {first_line(error)}. PyTorch finds these devices here: {there}."
        ) from error
