"""A Python that finds this on its path notes in ``$WATCHED`` each file it writes and each host it talks to."""

import json
import os
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NAMING = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.truncate": 0}  # event → which argument
TALKING = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0}

_log = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        _write("write", arguments[0])
    elif event in NAMING:
        _write("write", arguments[NAMING[event]])
    elif event in TALKING:
        os.write(_log, json.dumps(["talk", str(arguments[TALKING[event]])]).encode() + b"\n")


def _write(kind: str, path: object) -> None:
    if isinstance(path, (str, bytes)):  # not a descriptor that was opened before
        os.write(_log, json.dumps([kind, str(Path(os.fsdecode(path)).absolute())]).encode() + b"\n")


sys.addaudithook(_note)
