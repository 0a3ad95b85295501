"""Every shipped workflow, queued as it is but small; nodes of other packs stand aside where those are not installed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.comfyui_release import REPOSITORY
from support.comfyui_server import ComfyUIServer, Prompt
from support.shipped_prompts import IMAGES, make_small, shipped_prompt
from support.synthetic_models import synthetic_base

from imagdressing_core.files.official_files import ALL_FILES, CARTOON, CONTROLNET, CONTROLNET_INPAINT, DENOISING, VAE

# Subgraphs are unfolded by the editor, which no one has here: their workflow runs in tests/browser.
WORKFLOWS = [path for path in sorted((REPOSITORY / "workflows").glob("*.json")) if "_subgraph" not in path.stem]
SAVED = ("shirt_00001.safetensors", "trousers_00001.safetensors")


def _definition(inputs: dict[str, str], widgets: tuple[str, ...]) -> dict[str, Any]:
    specs = {name: [kind] for name, kind in inputs.items()} | {name: ["STRING", {}] for name in widgets}
    return {"input": {"required": specs}, "input_order": {"required": list(specs)}}


# Public ids, sockets and widgets of ComfyUI_IPAdapter_plus and comfyui_controlnet_aux; and what passes through them.
OTHER_PACKS = {
    "IPAdapterUnifiedLoaderFaceID": _definition({"model": "MODEL"}, ("preset", "lora_strength", "provider")),
    "IPAdapterFaceID": _definition(
        {"model": "MODEL", "ipadapter": "IPADAPTER", "image": "IMAGE"},
        ("weight", "weight_faceidv2", "weight_type", "combine_embeds", "start_at", "end_at", "embeds_scaling"),
    ),
    "InpaintPreprocessor": _definition({"image": "IMAGE", "mask": "MASK"}, ("black_pixel_for_xinsir_cn",)),
}
PASSES_THROUGH = {
    "IPAdapterUnifiedLoaderFaceID": "model",
    "IPAdapterFaceID": "model",
    "InpaintPreprocessor": "image",
}


def workflow(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def load(server: ComfyUIServer, name: str) -> Prompt:
    return shipped_prompt(server, REPOSITORY / "workflows" / f"{name}.json", OTHER_PACKS)


def constants(prompt: Prompt, class_type: str) -> dict[str, Any]:
    return next(node["inputs"] for node in prompt.values() if node["class_type"] == class_type)


def made_to_run_here(prompt: Prompt) -> Prompt:
    """Make it small, let other packs' nodes pass on what they get, and name models that are here."""
    make_small(prompt)
    present = {CARTOON.name: DENOISING.name, CONTROLNET_INPAINT.name: CONTROLNET.name}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            while isinstance(value, list) and prompt[value[0]]["class_type"] in PASSES_THROUGH:
                source = prompt[value[0]]
                value = source["inputs"][PASSES_THROUGH[source["class_type"]]]
            node["inputs"][name] = present.get(value, value) if isinstance(value, str) else value
            if name == "vae" and prompt[value[0]]["class_type"] == "CheckpointLoaderSimple":
                node["inputs"][name] = ["vae", 0]  # the synthetic checkpoint has none
        if node["class_type"] == "ImageScale":
            node["inputs"] |= {"width": 64, "height": 80}
    prompt = {key: node for key, node in prompt.items() if node["class_type"] not in OTHER_PACKS}
    return prompt | {"vae": {"class_type": "VAELoader", "inputs": {"vae_name": VAE.name}}}


@pytest.fixture(scope="module")
def wardrobe(server: ComfyUIServer) -> Iterator[None]:
    """The garments that wardrobe_fill saves."""
    folder = synthetic_base() / "models" / "imagdressing_garments"
    for name in SAVED:
        (folder / name).unlink(missing_ok=True)
    result = server.run(made_to_run_here(load(server, "wardrobe_fill")))
    assert result.error is None, result.error
    yield
    for name in SAVED:
        (folder / name).unlink()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_names_only_nodes_images_and_models_that_exist(server: ComfyUIServer, path: Path):
    known = set(server.get("/object_info")) | set(OTHER_PACKS) | {"MarkdownNote"}
    assert {node["type"] for node in workflow(path)["nodes"]} <= known
    published = {file.name: file for file in (*ALL_FILES, CARTOON, CONTROLNET_INPAINT)}
    for node in load(server, path.stem).values():
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            assert (IMAGES / node["inputs"]["image"]).is_file()
        for value in node["inputs"].values():
            if isinstance(value, str) and value.endswith((".safetensors", ".pt")):
                assert value in published or value in SAVED
    for node in workflow(path)["nodes"]:
        for model in node["properties"].get("models", ()):
            assert (model["url"], model["directory"]) == (published[model["name"]].url, published[model["name"]].folder)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_runs(server: ComfyUIServer, path: Path, wardrobe: None):
    prompt = made_to_run_here(load(server, path.stem))
    for node in prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["seed"] = 1234  # so that no test before it has it all cached
        if node["class_type"] == "IMAGDressingSaveGarment":
            node["inputs"]["filename_prefix"] = "again"
    result = server.run(prompt)
    assert result.error is None, result.error
    if path.stem == "wardrobe_fill":
        again = list((synthetic_base() / "models" / "imagdressing_garments").glob("again*"))
        assert len(again) == 2
        for file in again:
            file.unlink()
    else:
        assert len(result.images) == (2 if path.stem == "wardrobe" else 1)


def test_a_saved_garment_needs_neither_checkpoint_nor_clip_vision(server: ComfyUIServer, wardrobe: None):
    prompt = made_to_run_here(load(server, "wardrobe"))
    types = {node["class_type"] for node in prompt.values()}
    assert not types & {"IMAGDressingModelLoader", "IMAGDressingEncodeGarment", "CLIPVisionLoader"}


def test_a_garment_file_that_is_none_is_refused_in_words(server: ComfyUIServer, wardrobe: None, tmp_path: Path):
    file = synthetic_base() / "models" / "imagdressing_garments" / "none.safetensors"
    file.write_bytes(b"not a garment")
    prompt = made_to_run_here(load(server, "wardrobe"))
    constants(prompt, "IMAGDressingLoadGarment")["garment_name"] = file.name
    error = server.run(prompt).error
    file.unlink()
    assert error is not None and "none.safetensors" in error
    assert server.run(made_to_run_here(load(server, "wardrobe"))).error is None


def test_face_and_pose_has_the_official_constants(server: ComfyUIServer):
    prompt = load(server, "face_and_pose")
    assert constants(prompt, "KSampler")["cfg"] == 7.0
    assert constants(prompt, "IMAGDressingApply")["strength"] == 0.9
    assert constants(prompt, "IPAdapterFaceID")["weight"] == 0.9
    assert constants(prompt, "IPAdapterUnifiedLoaderFaceID")["lora_strength"] == 0.2
    assert constants(prompt, "ControlNetApplyAdvanced")["strength"] == 1.0


def test_try_on_has_the_official_constants_and_keeps_the_rest_of_the_image(server: ComfyUIServer):
    prompt = load(server, "try_on")
    assert (constants(prompt, "KSampler")["cfg"], constants(prompt, "KSampler")["denoise"]) == (5.0, 1.0)
    assert constants(prompt, "ControlNetApplyAdvanced")["strength"] == 1.0
    (saved,) = (node["inputs"]["images"] for node in prompt.values() if node["class_type"] == "SaveImage")
    assert prompt[saved[0]]["class_type"] == "IMAGDressingPasteBack"
