"""Workflow files saved before the code got its present names run as they are, with a garment file of that time.

``tests/reference/saved_earlier`` is from commit bb516ee: two workflows as it shipped them, and a garment of 64 × 64
pixels that its Save Garment node wrote. Nothing in that folder is ever written anew.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from support.comfyui_release import REPOSITORY
from support.comfyui_server import ComfyUIServer, Prompt
from support.shipped_prompts import make_small, shipped_prompt
from support.synthetic_models import synthetic_base

SAVED = REPOSITORY / "tests" / "reference" / "saved_earlier"
WIDGETS: dict[str, dict[str, dict[str, Any]]] = {
    "garment_to_person": {
        "IMAGDressingModelLoader": {"model_name": "IMAGDressing-v1_512.pt"},
        "IMAGDressingEncodeGarment": {"fit": "official", "width": 512, "height": 640, "drop_background": False},
        "IMAGDressingApply": {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0},
    },
    "wardrobe": {
        "IMAGDressingLoadGarment": {"garment_name": "shirt_00001.safetensors"},
        "IMAGDressingApplyAdvanced": {
            "strength": 1.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "layers": "all",
            "branches": "conditional",
            "batch": "one per image",
            "schedule": "constant",
        },
    },
}


@pytest.fixture
def garment() -> Iterator[str]:
    """The saved garment's name in ComfyUI's folder."""
    file = synthetic_base() / "models" / "imagdressing_garments" / "saved_earlier.safetensors"
    file.parent.mkdir(exist_ok=True)
    shutil.copy(SAVED / "garment.safetensors", file)
    yield file.name
    file.unlink()


def first(prompt: Prompt, class_type: str) -> dict[str, Any]:
    """Return the inputs of the first node of a type."""
    return next(node["inputs"] for node in prompt.values() if node["class_type"] == class_type)


@pytest.mark.parametrize("name", WIDGETS)
def test_its_widgets_keep_their_values_and_it_runs(server: ComfyUIServer, garment: str, name: str):
    prompt = shipped_prompt(server, SAVED / f"{name}.json")
    for class_type, widgets in WIDGETS[name].items():
        assert widgets.items() <= first(prompt, class_type).items()
    for node in prompt.values():
        if node["class_type"] == "IMAGDressingLoadGarment":
            node["inputs"]["garment_name"] = garment
    result = server.run(make_small(prompt))
    assert result.error is None, result.error
    assert len(result.images) == first(prompt, "EmptyLatentImage")["batch_size"]
