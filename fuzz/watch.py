"""What no reader may do while it reads: start programs, reach for the network, or touch files that are not its own."""

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.", "pty.", "socket.",
             "urllib.", "http.",
             "ftplib.", "smtplib.", "webbrowser.", "shutil.", "os.remove", "os.rename", "os.rmdir", "os.mkdir",
             "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.putenv", "os.kill", "ctypes.dlopen",
             "exec", "code.__new__", "import")  # fmt: skip


class Watch:
    """An audit hook, which cannot be taken away again; ``forbidding`` switches it on for a while.

    The hook sees what Python does: files, programs, sockets, imports, code. seen: what was done that must not be.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._folder: str | None = None
        self._own = tuple(str(Path(path).resolve()) for path in {*sysconfig.get_paths().values(), sys.prefix})
        sys.addaudithook(self._hook)

    @contextmanager
    def forbidding(self, folder: Path) -> Iterator[None]:
        """Take note of all that is forbidden. folder: the one place where files may be opened."""
        self._folder = str(folder.resolve())
        try:
            yield
        finally:
            self._folder = None

    def _hook(self, event: str, details: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event == "open":
            if isinstance(details[0], str | bytes) and not self._may_open(details):
                self.seen.append(f"open {details[0]!r} {details[1]!r}")
        elif event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {details!r:.200}")

    def _may_open(self, details: tuple[Any, ...]) -> bool:
        path = str(Path(str(details[0])).absolute())
        reads = not set(str(details[1])) & set("wax+")
        return path.startswith(f"{self._folder}/") or (reads and path.startswith(self._own))
