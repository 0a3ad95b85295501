"""The node pack installs and starts light."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_importing_the_core_brings_in_no_heavy_module():
    rooms = ("model", "images", "files", "application")
    modules = [path for room in rooms for path in sorted((REPOSITORY / "imagdressing_core" / room).glob("[!_]*.py"))]
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in modules]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "imagdressing_core.files.checkpoint" in loaded
    assert not {"accelerate", "diffusers", "transformers", "torchvision", "scipy"} & set(loaded)


def test_requirements_are_few_and_unpinned():
    assert (REPOSITORY / "requirements.txt").read_text().split() == ["einops", "numpy", "pillow", "safetensors"]
