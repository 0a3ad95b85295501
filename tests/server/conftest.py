"""The real ComfyUI as a server, on synthetic models, with a folder of checkpoints that are none."""

from collections.abc import Iterator
from pathlib import Path

import run_demo as demo
import pytest
from support import bad_checkpoints
from support.comfyui_server import ComfyUIServer, Prompt, serving


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
    with serving("--extra-model-paths-config", str(paths), base=demo.demo_base(None)) as running:
        yield running


@pytest.fixture
def prompt(server: ComfyUIServer) -> Prompt:
    return tiny_workflow(server)


def tiny_workflow(server: ComfyUIServer) -> Prompt:
    """Return the shipped base workflow in API form, at 64 × 80 pixels in two steps."""
    prompt = demo.shipped_workflow(server)
    demo.make_small(prompt, width=64, height=80, steps=2)
    return prompt
