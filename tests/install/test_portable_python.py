"""The commands of the pages, typed as they stand there, with the Pythons that Windows' users have.

Windows' portable ComfyUI has an embedded Python, whose search path holds neither the working folder nor a script's
folder; ``python -I`` has the same gap.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import fresh
from support.comfyui_release import PACK_NAME
from support.hub import HubFile, serving_hub

from imagdressing_core.files.official_files import ALL_FILES, VAE

STRICT = (
    "-X",
    "warn_default_encoding",
    "-W",
    "error::EncodingWarning:scripts",
    "-W",
    "error::EncodingWarning:imagdressing_core",
)


@pytest.fixture(scope="module", params=["ComfyUI", "Programme (é)"])
def custom_nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of the pack in ComfyUI's ``custom_nodes``, in a folder with that name."""
    base = fresh.base(tmp_path_factory.mktemp("portable") / request.param)
    return fresh.clone(base).parent


def run(*arguments: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=others | {"HF_HOME": str(folder / "hub")} | environment,
        capture_output=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        check=False,
    )


def test_an_isolated_python_lists_what_belongs_where(custom_nodes: Path, tmp_path: Path):
    done = run("-I", *STRICT, custom_nodes / PACK_NAME, custom_nodes.parent / "models", "--list", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(file.url in done.stdout for file in ALL_FILES[:4])


def test_an_isolated_python_fetches_a_file(custom_nodes: Path, tmp_path: Path):
    with serving_hub() as hub:
        hub.files[VAE.repository, VAE.source] = HubFile(b"weights")
        pack = Path(os.path.relpath(custom_nodes / PACK_NAME, custom_nodes.parent))
        done = run("-s", *STRICT, pack, "models", VAE.name, folder=custom_nodes.parent, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert (custom_nodes.parent / "models" / VAE.path).read_bytes() == b"weights"


def test_a_console_of_256_letters_gets_every_message(custom_nodes: Path, tmp_path: Path):
    missing = tmp_path / "модели → 模型"
    done = run(custom_nodes / PACK_NAME, missing, folder=tmp_path, PYTHONIOENCODING="cp1252")
    assert done.returncode == 2
    assert "is no folder. Give the models folder of your ComfyUI" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["training", "metrics", "baselines"])
def test_training_and_evaluation_run_from_their_extras_in_an_isolated_python(command: str, tmp_path: Path):
    done = run("-I", "-m", f"imagdressing_core.{command}", "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
