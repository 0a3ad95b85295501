"""Processes of their own, for what may end or fill the process that does it, and ports for them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATH = os.pathsep.join(str(REPOSITORY / folder) for folder in (".", "tests", "fuzz"))


def child(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in ``folder``; return how it ended and what it printed."""
    environment = os.environ | {"PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def free_port() -> int:
    """Return the number of a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
