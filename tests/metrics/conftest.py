"""The drawn evaluation that the tests of the command share."""

from pathlib import Path

import pytest
from support import drawn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of four garments, and two methods' folders."""
    drawn.evaluation(tmp_path, ("ours", "other"))
    return tmp_path
