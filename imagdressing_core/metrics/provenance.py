"""What a report was made by: version, command, weights, device and date, for every file that is written."""

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

from .digests import text_digest

PACKAGES = ("torch", "transformers", "diffusers", "torchmetrics", "insightface", "opencv-python-headless",
            "scikit-image", "scipy")  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """The origin of a report.

    Attributes:
        task: By name, everything that the scores depend on but the images.
        device: The device of the models.
        processes: The number of processes that shared the work.
    """

    task: Mapping[str, str]
    device: str
    processes: int

    @property
    def run(self) -> str:
        """A short digest of the task: two files with one digest may be compared."""
        return text_digest(repr(sorted(self.task.items())))[:12]

    def entries(self) -> dict[str, str]:
        """Return all that is known, by name."""
        return {
            "run": self.run,
            **self.task,
            "command": shlex.join(sys.argv),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "device": self.device,
            "processes": str(self.processes),
            "python": f"{platform.python_version()} on {platform.platform()}",
            **{name: found for name in PACKAGES if (found := _version(name))},
        }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
