"""The generators that speak to a running ComfyUI: ours and MagicClothing, from a manifest to a folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.comfyui_server import ComfyUIServer
from support.shipped_prompts import IMAGES, make_small

from imagdressing_core.baselines import on_comfyui
from imagdressing_core.baselines.recipe import generate
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.official_files import GARMENT
from imagdressing_core.metrics.manifest import Case
from imagdressing_core.on_diffusers.official import NEGATIVE_PROMPT, QUALITY_PROMPT


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    mask = tmp_path / "mask.png"
    Image.new("RGB", (768, 1024), "white").save(mask)
    shirt, trousers = IMAGES / "imagdressing_shirt.png", IMAGES / "imagdressing_trousers.png"
    return [
        Case("0.png", shirt, mask, prompt="A woman"),
        Case("1.png", trousers, mask, prompt="A woman"),
        Case("again.png", shirt, mask, prompt="A woman"),
    ]


def small(recipe: on_comfyui.WorkflowRecipe) -> on_comfyui.WorkflowRecipe:
    make_small(recipe.workflow, steps=1)
    for node in recipe.workflow.values():
        if node["class_type"] == "BasicScheduler":
            node["inputs"]["steps"] = 3  # after one step of uni_pc the image is the noise alone
    return recipe


def inputs(recipe: on_comfyui.WorkflowRecipe, class_type: str) -> dict[str, Any]:
    return next(node["inputs"] for node in recipe.workflow.values() if node["class_type"] == class_type)


def test_ours_is_the_shipped_workflow_for_each_garment(server: ComfyUIServer, cases: list[Case], tmp_path: Path):
    recipe = on_comfyui.imagdressing(server.url)
    assert inputs(recipe, "KSampler")["steps"] == 50
    assert recipe.weights["model_name"] == GARMENT.name
    folder = tmp_path / "ours"
    assert generate(cases, small(recipe), folder) == 3
    shirt, trousers, again = (Image.open(folder / case.file_name).tobytes() for case in cases)
    assert len(shirt) == 64 * 80 * 3
    assert shirt == again  # the same garment, prompt and seed, which ComfyUI had computed already
    assert shirt != trousers
    found = json.loads((folder / "1.png.json").read_text())
    assert (found["method"], found["garment"]) == ("IMAGDressing-v1", "imagdressing_trousers.png")
    assert "comfyui" in found["versions"]
    assert generate(cases, recipe, folder) == 0


def test_ours_takes_an_own_checkpoint(server: ComfyUIServer):
    recipe = on_comfyui.imagdressing(server.url, "my_own.safetensors")
    assert inputs(recipe, "IMAGDressingModelLoader")["model_name"] == "my_own.safetensors"
    assert recipe.weights["model_name"] == "my_own.safetensors"


def test_the_prompt_ends_with_the_official_words_and_the_negative_is_the_official_one(server: ComfyUIServer):
    recipe = on_comfyui.imagdressing(server.url)
    texts = [node["inputs"]["text"] for node in recipe.workflow.values() if node["class_type"] == "CLIPTextEncode"]
    assert NEGATIVE_PROMPT in texts
    assert any(text.endswith(QUALITY_PROMPT) for text in texts)


def test_magic_clothing_has_its_own_constants_and_dresses(
    server: ComfyUIServer, cases: list[Case], tmp_path: Path, magic_clothing: str
):
    server.forget()
    recipe = on_comfyui.magic_clothing(server.url, magic_clothing)
    assert inputs(recipe, "EmptyLatentImage") | {"batch_size": 1} == {"width": 576, "height": 768, "batch_size": 1}
    assert (inputs(recipe, "BasicScheduler")["steps"], inputs(recipe, "KSamplerSelect")["sampler_name"]) == (
        20,
        "uni_pc",
    )
    assert recipe.needs == ["garment_mask"]
    folder = tmp_path / "magic_clothing"
    assert generate(cases[:2], small(recipe), folder) == 2
    first, second = (Image.open(folder / case.file_name).tobytes() for case in cases[:2])
    assert first != second
    found = json.loads((folder / "0.png.json").read_text())
    assert (found["garment_mask"], found["weights"]["model_name"]) == ("mask.png", magic_clothing)


def test_both_methods_follow_the_manifests_poses(
    server: ComfyUIServer, cases: list[Case], tmp_path: Path, magic_clothing: str
):
    poses = [IMAGES / "imagdressing_pose.png", IMAGES / "imagdressing_shirt.png"]
    posed = [replace(cases[0], file_name=f"{i}.png", pose=pose) for i, pose in enumerate(poses)]
    ours = on_comfyui.imagdressing(server.url, follows=["pose"])
    theirs = on_comfyui.magic_clothing(server.url, magic_clothing, follows=["pose"])
    assert theirs.workflow[theirs.prompt.node]["class_type"] == "CLIPTextEncode"
    for recipe, needs in ((ours, ["pose"]), (theirs, ["pose", "garment_mask"])):
        assert recipe.needs == needs
        server.forget()  # there is not enough memory for the models of both methods
        folder = tmp_path / recipe.name
        assert generate(posed, small(recipe), folder) == 2
        assert json.loads((folder / "0.png.json").read_text())["pose"] == "imagdressing_pose.png"
        first, second = (Image.open(folder / case.file_name).tobytes() for case in posed)
        assert first != second


def test_a_face_needs_the_pack_that_reads_it(server: ComfyUIServer):
    with pytest.raises(IMAGDressingError, match="has no ComfyUI_IPAdapter_plus"):
        on_comfyui.imagdressing(server.url, follows=["pose", "face"])


def test_what_comfyui_refuses_is_said_with_the_garment(server: ComfyUIServer, cases: list[Case], tmp_path: Path):
    recipe = small(on_comfyui.imagdressing(server.url))
    inputs(recipe, "IMAGDressingModelLoader")["model_name"] = "absent.pt"
    with pytest.raises(IMAGDressingError, match=r"(?s)imagdressing_shirt\.png: ComfyUI made no image.*absent\.pt"):
        generate(cases, recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "0.png").exists()
