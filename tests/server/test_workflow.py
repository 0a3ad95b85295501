"""The shipped workflow, queued as a user queues it."""

import io
from typing import Any

import pytest
from PIL import Image
from support.comfyui_server import ComfyUIServer, Prompt, Result

from imagdressing_core.files.official_files import GARMENT


def node(prompt: Prompt, class_type: str) -> dict[str, Any]:
    """Return the inputs of the first node of that type."""
    return next(entry["inputs"] for entry in prompt.values() if entry["class_type"] == class_type)


def types(prompt: Prompt, ids: frozenset[str]) -> set[str]:
    return {prompt[node_id]["class_type"] for node_id in ids}


def image(server: ComfyUIServer, result: Result) -> Image.Image:
    assert result.error is None, result.error
    return Image.open(io.BytesIO(server.image(result.images[0]))).convert("RGB")


def test_the_shipped_workflow_makes_an_image(server: ComfyUIServer, prompt: Prompt):
    assert image(server, server.run(prompt)).size == (64, 80)


def test_the_shipped_constants_are_the_official_ones(server: ComfyUIServer):
    from support.shipped_prompts import shipped_prompt

    prompt = shipped_prompt(server)
    sampler, latent = node(prompt, "KSampler"), node(prompt, "EmptyLatentImage")
    garment, apply = node(prompt, "IMAGDressingEncodeGarment"), node(prompt, "IMAGDressingApply")
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("ddim", "ddim_uniform")
    assert (sampler["steps"], sampler["cfg"], sampler["denoise"]) == (50, 7.5, 1.0)
    assert (latent["width"], latent["height"]) == (garment["width"], garment["height"]) == (512, 640)
    assert (garment["fit"], apply["strength"]) == ("official", 1.0)
    assert (apply["start_percent"], apply["end_percent"]) == (0.0, 1.0)
    texts = {entry["inputs"]["text"] for entry in prompt.values() if entry["class_type"] == "CLIPTextEncode"}
    assert texts == {
        "A beautiful woman, best quality, high quality",
        "bare, naked, nude, undressed, monochrome, lowres, bad anatomy, worst quality, low quality",
    }


@pytest.mark.parametrize(
    ("class_type", "change"),
    [
        ("CLIPTextEncode", {"text": "A man in the rain"}),
        ("KSampler", {"seed": 7}),
        ("KSampler", {"sampler_name": "euler", "scheduler": "karras"}),
        ("IMAGDressingApply", {"strength": 0.8}),
        ("EmptyLatentImage", {"width": 80, "batch_size": 2}),
    ],
    ids=["prompt", "seed", "sampler", "strength", "size and batch"],
)
def test_the_garment_is_encoded_once_whatever_else_changes(
    server: ComfyUIServer, prompt: Prompt, class_type: str, change: dict[str, Any]
):
    assert server.run(prompt).error is None
    node(prompt, class_type).update(change)
    result = server.run(prompt)
    assert result.error is None
    assert "KSampler" in types(prompt, result.executed)
    assert types(prompt, result.cached) >= {"IMAGDressingModelLoader", "IMAGDressingEncodeGarment", "LoadImage"}


def test_strength_zero_is_the_image_of_the_workflow_without_the_node(server: ComfyUIServer, prompt: Prompt):
    node(prompt, "IMAGDressingApply")["strength"] = 0.0
    idle = image(server, server.run(prompt))
    node(prompt, "KSampler")["model"] = node(prompt, "IMAGDressingApply")["model"]
    assert image(server, server.run(prompt)).tobytes() == idle.tobytes()


def test_converting_writes_a_small_file_that_dresses_alike(server: ComfyUIServer, prompt: Prompt, extra_models: Any):
    node(prompt, "KSampler")["seed"] = 11  # a ComfyUI that has all of it cached would show no image
    with_garment = image(server, server.run(prompt))
    server.forget()  # so that it never holds the model of either file
    convert = {"class_type": "IMAGDressingConvertCheckpoint", "inputs": {"model_name": GARMENT.name, "dtype": "fp16"}}
    result = server.run({"1": convert})
    assert result.error is None
    converted = extra_models / "IMAGDressing-v1_512_fp16.safetensors"
    assert str(converted) in result.outputs["1"]["text"][0]
    assert 1.82e9 < converted.stat().st_size < 1.84e9
    assert not [path for path in extra_models.iterdir() if path.name.startswith(".imagdressing-")]

    node(prompt, "IMAGDressingModelLoader")["model_name"] = converted.name
    again = image(server, server.run(prompt))
    assert again.size == with_garment.size
    difference = sum(abs(a - b) for a, b in zip(again.tobytes(), with_garment.tobytes(), strict=True))
    assert difference / len(with_garment.tobytes()) < 3
    converted.unlink()
