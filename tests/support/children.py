"""Python in a process of its own, for what may end or fill the process that does it."""

import os
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
