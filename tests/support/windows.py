"""Windows' rules about files, laid over this system, so that what breaks them fails here as it would there.

Each rule stands beside the error that Windows gives. What is not simulated: that names differing in case are one file.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

LONGEST_PATH = 259  # MAX_PATH without its final zero
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))})


@contextmanager
def windows_files(folder: Path) -> Iterator[None]:
    """Make ``folder`` and all below it obey Windows' rules: handles, files in use, names, lengths of paths."""
    rules = {
        "open": _checked(os.open, folder, _require_writable_name),
        "mkdir": _checked(os.mkdir, folder, _require_writable_name),
        "replace": _checked(os.replace, folder, _require_free, _require_writable_name),
        "rename": _checked(os.rename, folder, _require_free, _require_writable_name, _require_new_target),
        "unlink": _checked(os.unlink, folder, _require_free),
        "remove": _checked(os.remove, folder, _require_free),
        "rmdir": _checked(os.rmdir, folder, _require_free),
        "fsync": _fsync(os.fsync),
    }
    with ExitStack() as stack:
        for name, rule in rules.items():
            stack.enter_context(patch.object(os, name, rule))
        stack.enter_context(patch("builtins.open", _checked(open, folder, _require_writable_name)))
        stack.enter_context(patch("io.open", _checked(open, folder, _require_writable_name)))
        yield


def in_use(path: Path) -> bool:
    """Return whether this process has the file, or one below the folder, open or mapped."""
    real = str(path.resolve())
    held = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of this very listing
            held.add(str(descriptor.readlink()))
    return any(name == real or name.startswith(real + os.sep) for name in held)


def _checked(do: Callable[..., Any], folder: Path, *rules: Callable[..., None]) -> Callable[..., Any]:
    @wraps(do)
    def checked(*arguments: Any, **options: Any) -> Any:
        absolute = [Path(one).absolute() for one in arguments if isinstance(one, str | os.PathLike)]
        paths = [path for path in absolute if path.is_relative_to(folder.absolute())]
        for rule in rules:
            rule(folder, paths)
        return do(*arguments, **options)

    return checked


def _fsync(do: Callable[[int], None]) -> Callable[[int], None]:
    """FlushFileBuffers needs a handle that may write: errno 9."""
    import fcntl

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        do(descriptor)

    return fsync


def _require_free(_: Path, paths: list[Path]) -> None:
    """WinError 5 and 32: a file that is open or mapped can be neither replaced, nor renamed, nor deleted."""
    for path in paths:
        if path.exists() and in_use(path):
            raise PermissionError(errno.EACCES, "Access is denied", str(path))


def _require_new_target(_: Path, paths: list[Path]) -> None:
    """WinError 183: a rename does not replace."""
    if len(paths) == 2 and paths[1].exists():
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", str(paths[1]))


def _require_writable_name(folder: Path, paths: list[Path]) -> None:
    """WinError 123 and 3: names that cannot be, and paths longer than MAX_PATH."""
    for path in paths:
        for part in path.relative_to(folder.absolute()).parts:
            if FORBIDDEN.search(part) or part != part.rstrip(". ") or part.split(".")[0].lower() in DEVICES:
                raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", part)
        if len(str(path)) > LONGEST_PATH:
            raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", str(path))
