"""Errors, devices and configuration files, alike in the commands of evaluation, baselines, training and catalogues."""

import errno
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from . import __version__
from .errors import IMAGDressingError, first_line, packages

Content = TypeVar("Content")
# What a user can mend, whichever file it is: no right, no room, a file in the place of a folder, too long a name.
OF_THE_DISK = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}
STOPPED = 143  # 128 + SIGTERM, the status of a process that the signal ended
CHUNK = 1 << 24  # bytes of a file that are in memory at once


def run_command(command: Callable[[], object]) -> None:
    """Run a command line; an IMAGDressingError ends the process with its message, no trace and status 2.

    Letters that the console cannot show (on Windows it may know only 256) become question marks.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except IMAGDressingError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(
            f"Error: {where}{error.strerror}. Check that the file or folder can be written to and that its disk has "
            "room; then give the same command again.",
            file=sys.stderr,
        )
        sys.exit(2)


def require_device(name: str) -> None:
    """Raise IMAGDressingError unless PyTorch can use the device of this name: ``cpu``, ``cuda``, ``cuda:1`` …"""
    if name == "cpu":  # for which PyTorch need not be imported
        return
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise IMAGDressingError(
            f"--device {name} cannot be used: {first_line(error)}. PyTorch finds these devices here: {there}."
        ) from error


def made_by() -> dict[str, str]:
    """Return {"version", "command", "date"}, which stand in every output."""
    return {
        "version": __version__,
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def add_file(digest: Any, path: Path) -> None:
    """Add the content of a file to a digest of hashlib."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)


def read_toml(path: Path, kind: type[Content], called: str) -> Content:
    """Read a TOML file as a dataclass of pydantic's.

    Args:
        path: The file.
        kind: The dataclass.
        called: The file's purpose, for errors: "a training configuration".

    Raises:
        IMAGDressingError: The file is missing, is no TOML, or has unknown, missing or invalid entries, all of which
            are named.
    """
    with packages("A configuration", "training"):
        from pydantic import TypeAdapter, ValidationError

        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise IMAGDressingError(f"{path} cannot be read as a configuration in TOML: {error}") from error
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(_problem(one) for one in error.errors())
        raise IMAGDressingError(f"{path} is not {called}: {problems}.") from error


def _problem(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"{name} is unknown"
    if error["type"] in ("missing", "missing_argument"):
        return f"{name} is missing"
    said = f"{error['msg'].removeprefix('Value error, ')} (found {str(error['input'])[:80]!r})"
    return f"{name}: {said}" if name else said
