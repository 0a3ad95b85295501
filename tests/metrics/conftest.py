"""What several tests share: a drawn evaluation, and the rows of a small manifest."""

from pathlib import Path

import pytest
from PIL import Image
from support import drawn

from imagdressing_core.metrics.manifest import Case


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of four garments, and two methods' folders."""
    drawn.evaluation(tmp_path, ("ours", "other"))
    return tmp_path


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    for name, colour in {"red.png": "red", "blue.png": "blue", "mask.png": "white", "black.png": "black"}.items():
        Image.new("RGB", (60, 80), colour).save(tmp_path / name)
    red, blue, mask = (tmp_path / name for name in ("red.png", "blue.png", "mask.png"))
    return [
        Case("0.png", red, mask, prompt="A woman"),
        Case("1.png", red, mask, prompt="A man in the rain"),
        Case("street/2.jpg", blue, mask, prompt="A woman"),
    ]
