"""The node pack installs and starts light."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_importing_the_core_brings_in_no_heavy_module():
    modules = [path.stem for path in (REPOSITORY / "imagdressing_core").glob("*.py") if path.stem != "__init__"]
    code = f"import sys, {', '.join(f'imagdressing_core.{module}' for module in modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "imagdressing_core.checkpoint" in loaded
    assert not {"accelerate", "diffusers", "transformers", "torchvision", "scipy"} & set(loaded)


def test_requirements_are_few_and_unpinned():
    assert (REPOSITORY / "requirements.txt").read_text().split() == ["numpy", "pillow", "safetensors"]
