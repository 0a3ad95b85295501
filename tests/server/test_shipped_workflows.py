"""Every shipped workflow, queued as it is but small.

Nodes of another pack stand aside. What SAM3, BiRefNet and SDPose would find comes from images, as their models are not
here.
"""

import copy
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.comfyui_release import PACK_NAME, REPOSITORY
from support.comfyui_server import ComfyUIServer, Prompt
from support.shipped import WORKFLOWS, nodes
from support.shipped_prompts import IMAGES, PHOTOGRAPH_OF_A_FACE, make_small, shipped_prompt
from support.synthetic_models import synthetic_base

from imagdressing_core.files.official_files import ALL_FILES, CARTOON, CONTROLNET, CONTROLNET_INPAINT, DENOISING, VAE

RENAMED = runpy.run_path(str(REPOSITORY / "nodes" / "comfyui" / "old_template_names.py"))["RENAMED"]
SAVED = ("shirt_00001.safetensors", "trousers_00001.safetensors")
FILL, DRESS = "8 A wardrobe and a lookbook", "9 Dress from the wardrobe"
IMAGES_MADE = {FILL: 3, DRESS: 2}  # the batch and the sheet; the batch


def _definition(inputs: dict[str, str], widgets: tuple[str, ...]) -> dict[str, Any]:
    specs = {name: [kind] for name, kind in inputs.items()} | {name: ["STRING", {}] for name in widgets}
    return {"input": {"required": specs}, "input_order": {"required": list(specs)}}


# Public ids, sockets and widgets of ComfyUI_IPAdapter_plus; and what passes through them.
OTHER_PACKS = {
    "IPAdapterUnifiedLoaderFaceID": _definition({"model": "MODEL"}, ("preset", "lora_strength", "provider")),
    "IPAdapterFaceID": _definition(
        {"model": "MODEL", "ipadapter": "IPADAPTER", "image": "IMAGE"},
        ("weight", "weight_faceidv2", "weight_type", "combine_embeds", "start_at", "end_at", "embeds_scaling"),
    ),
}
PASSES_THROUGH = {"IPAdapterUnifiedLoaderFaceID": "model", "IPAdapterFaceID": "model"}

# Nodes of ComfyUI whose models are not here, or None for those that only feed these, and images of what they put out.
_GARMENT_MASK = {"class_type": "LoadImageMask", "inputs": {"image": "imagdressing_upper.png", "channel": "red"}}
_SKELETON = {"class_type": "LoadImage", "inputs": {"image": "imagdressing_pose.png"}}
STAND_INS = {
    "SAM3_Detect": _GARMENT_MASK,
    "LoadBackgroundRemovalModel": None,
    "RemoveBackground": _GARMENT_MASK,
    "SDPoseKeypointExtractor": None,
    "SDPoseDrawKeypoints": _SKELETON,
}


def is_too_new(server: ComfyUIServer, path: Path) -> bool:
    """Say whether a workflow is for a newer ComfyUI than this; its note says which."""
    return bool({node["type"] for node in nodes(path)} & set(STAND_INS) - set(server.get("/object_info")))


def load(server: ComfyUIServer, name: str) -> Prompt:
    return shipped_prompt(server, REPOSITORY / "workflows" / f"{name}.json", OTHER_PACKS)


def constants(prompt: Prompt, class_type: str) -> dict[str, Any]:
    return next(node["inputs"] for node in prompt.values() if node["class_type"] == class_type)


def made_to_run_here(prompt: Prompt) -> Prompt:
    """Make it small, let other packs' nodes pass on what they get, and name models that are here."""
    make_small(prompt)
    stand_ins = {key: STAND_INS[node["class_type"]] for key, node in prompt.items() if node["class_type"] in STAND_INS}
    prompt = {key: node for key, node in prompt.items() if key not in stand_ins} | {
        key: copy.deepcopy(stand_in) for key, stand_in in stand_ins.items() if stand_in
    }
    present = {CARTOON.name: DENOISING.name, CONTROLNET_INPAINT.name: CONTROLNET.name}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            while isinstance(value, list) and prompt[value[0]]["class_type"] in PASSES_THROUGH:
                source = prompt[value[0]]
                value = source["inputs"][PASSES_THROUGH[source["class_type"]]]
            node["inputs"][name] = present.get(value, value) if isinstance(value, str) else value
            if name == "vae" and prompt[value[0]]["class_type"] == "CheckpointLoaderSimple":
                node["inputs"][name] = ["vae", 0]  # the synthetic checkpoint has none
        if node["class_type"] == "IMAGDressingCropToMask":
            node["inputs"] |= {"size": 72}
    prompt = {key: node for key, node in prompt.items() if node["class_type"] not in OTHER_PACKS}
    return prompt | {"vae": {"class_type": "VAELoader", "inputs": {"vae_name": VAE.name}}}


@pytest.fixture(scope="module")
def wardrobe(server: ComfyUIServer) -> Iterator[None]:
    """The garments that wardrobe_fill saves."""
    folder = synthetic_base() / "models" / "imagdressing_garments"
    for name in SAVED:
        (folder / name).unlink(missing_ok=True)
    result = server.run(made_to_run_here(load(server, FILL)))
    assert result.error is None, result.error
    yield
    for name in SAVED:
        (folder / name).unlink()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_names_only_nodes_images_and_models_that_exist(server: ComfyUIServer, path: Path):
    if is_too_new(server, path):
        return
    published = {file.name for file in ALL_FILES}
    known = set(server.get("/object_info")) | set(OTHER_PACKS)
    for node in load(server, path.stem).values():
        assert node["class_type"] in known
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            assert (IMAGES / node["inputs"]["image"]).is_file() or node["inputs"]["image"] == PHOTOGRAPH_OF_A_FACE
        for value in node["inputs"].values():
            if isinstance(value, str) and value.endswith((".safetensors", ".pt")):
                assert value in published or value in SAVED


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_runs(server: ComfyUIServer, path: Path, wardrobe: None):
    if is_too_new(server, path):
        return
    prompt = made_to_run_here(load(server, path.stem))
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["seed"] = 1234  # so that no test before it has it all cached
        if node["class_type"] == "IMAGDressingSaveGarment":
            node["inputs"]["filename_prefix"] = "again"
    result = server.run(prompt)
    assert result.error is None, result.error
    assert len(result.images) == IMAGES_MADE.get(path.stem, 1)
    again = list((synthetic_base() / "models" / "imagdressing_garments").glob("again*"))
    assert len(again) == (2 if path.stem == FILL else 0)
    for file in again:
        file.unlink()


def test_a_saved_garment_needs_neither_checkpoint_nor_clip_vision(server: ComfyUIServer, wardrobe: None):
    prompt = made_to_run_here(load(server, DRESS))
    types = {node["class_type"] for node in prompt.values()}
    assert not types & {"IMAGDressingModelLoader", "IMAGDressingEncodeGarment", "CLIPVisionLoader"}


def test_a_garment_file_that_is_none_is_refused_in_words(server: ComfyUIServer, wardrobe: None, tmp_path: Path):
    file = synthetic_base() / "models" / "imagdressing_garments" / "none.safetensors"
    file.write_bytes(b"not a garment")
    prompt = made_to_run_here(load(server, DRESS))
    constants(prompt, "IMAGDressingLoadGarment")["garment_name"] = file.name
    error = server.run(prompt).error
    file.unlink()
    assert error is not None and "none.safetensors" in error
    assert server.run(made_to_run_here(load(server, DRESS))).error is None


def test_face_and_pose_has_the_official_constants(server: ComfyUIServer):
    prompt = load(server, "A face and a pose (needs another pack)")
    assert constants(prompt, "KSampler")["cfg"] == 7.0
    assert constants(prompt, "IMAGDressingApply")["strength"] == 0.9
    assert constants(prompt, "IPAdapterFaceID")["weight"] == 0.9
    assert constants(prompt, "IPAdapterUnifiedLoaderFaceID")["lora_strength"] == 0.2
    assert constants(prompt, "ControlNetApplyAdvanced")["strength"] == 1.0


@pytest.mark.parametrize("name", ["2 Try on a person", "3 Try on by words (SAM3)"])
def test_try_on_has_the_official_constants_and_keeps_the_rest_of_the_image(server: ComfyUIServer, name: str):
    if is_too_new(server, REPOSITORY / "workflows" / f"{name}.json"):
        return
    prompt = load(server, name)
    assert (constants(prompt, "KSampler")["cfg"], constants(prompt, "KSampler")["denoise"]) == (5.0, 1.0)
    assert constants(prompt, "ControlNetApplyAdvanced")["strength"] == 1.0
    (saved,) = (node["inputs"]["images"] for node in prompt.values() if node["class_type"] == "SaveImage")
    assert prompt[saved[0]]["class_type"] == "IMAGDressingPasteBack"


@pytest.mark.parametrize("old", RENAMED)
def test_a_link_with_the_old_name_of_a_template_opens_it(server: ComfyUIServer, old: str):
    shipped = json.loads((REPOSITORY / "workflows" / f"{RENAMED[old]}.json").read_text())
    assert server.get(f"/api/workflow_templates/{PACK_NAME}/{old}.json") == shipped
