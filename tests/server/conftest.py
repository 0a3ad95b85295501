"""The real ComfyUI as a server, on synthetic models, with a folder of checkpoints that are none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import bad_checkpoints
from support.comfyui_server import HALF, KEEPING_BUFFERS, ComfyUIServer, Prompt, serving
from support.shipped_prompts import make_small, shipped_prompt
from support.synthetic_models import synthetic_base


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
def server(extra_models: Path) -> Iterator[ComfyUIServer]:
    paths = extra_models.parent / "extra_model_paths.yaml"
    paths.write_text(f"shared:\n  base_path: {extra_models.parent}\n  imagdressing: imagdressing\n")
    flags = (*HALF, "--extra-model-paths-config", str(paths))
    with serving(*flags, base=synthetic_base(), prefix=KEEPING_BUFFERS) as running:
        yield running


@pytest.fixture
def prompt(server: ComfyUIServer) -> Prompt:
    """The shipped base workflow at 64 × 80 pixels in one step."""
    return make_small(shipped_prompt(server))
