"""The real ComfyUI as a server, on synthetic models, with a folder of checkpoints that are none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import bad_checkpoints
from support.children import child
from support.comfyui_server import HALF, KEEPING_BUFFERS, ComfyUIServer, Prompt, serving
from support.shipped_prompts import make_small, shipped_prompt
from support.synthetic_models import synthetic_base

from imagdressing_core.baselines.on_comfyui import MAGIC_CLOTHING


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests with a ComfyUI of their own come first, so that no two of them hold models at a time."""
    items.sort(key=lambda item: "extra_models" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def extra_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that only ``extra_model_paths.yaml`` tells ComfyUI of."""
    folder = tmp_path_factory.mktemp("extra") / "imagdressing"
    folder.mkdir()
    bad_checkpoints.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def magic_clothing(extra_models: Path) -> str:
    """A checkpoint of MagicClothing's kind, made by a process of its own, which gives its memory back."""
    file = extra_models / MAGIC_CLOTHING
    write = f"from support.synthetic_models import *; write_magic_clothing(Path({str(file)!r}))"
    assert child("-c", write, folder=extra_models).returncode == 0
    return file.name


@pytest.fixture(scope="session")
def server(extra_models: Path, magic_clothing: str) -> Iterator[ComfyUIServer]:
    paths = extra_models.parent / "extra_model_paths.yaml"
    paths.write_text(f"shared:\n  base_path: {extra_models.parent}\n  imagdressing: imagdressing\n")
    flags = (*HALF, "--extra-model-paths-config", str(paths))
    with serving(*flags, base=synthetic_base(), prefix=KEEPING_BUFFERS) as running:
        yield running


@pytest.fixture
def prompt(server: ComfyUIServer) -> Prompt:
    """The shipped base workflow at 64 × 80 pixels in two steps."""
    return make_small(shipped_prompt(server))
