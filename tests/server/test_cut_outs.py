"""A product image without background, as shops deliver it, through Load Image and the shipped workflow."""

import io
from typing import Any

import numpy
import pytest
from PIL import Image
from support.comfyui_release import BASE
from support.comfyui_server import ComfyUIServer, Prompt

NAME = "cut_out.png"
RED, HIDDEN = (200, 30, 30), (0, 90, 0)


def node_of(prompt: Prompt, kind: str) -> str:
    return next(node for node, entry in prompt.items() if entry["class_type"] == kind)


@pytest.mark.parametrize("wired", ["image alone", "MASK", "Invert Mask"])
def test_a_cut_out_is_encoded_on_white_however_it_is_wired(server: ComfyUIServer, prompt: Prompt, wired: str):
    pixels = numpy.full((80, 64, 4), (*HIDDEN, 0), "uint8")
    pixels[20:60, 16:48] = (*RED, 255)
    Image.fromarray(pixels).save(BASE / "input" / NAME)
    encode, load = (node_of(prompt, kind) for kind in ("IMAGDressingEncodeGarment", "LoadImage"))
    prompt[load]["inputs"]["image"] = NAME
    # ComfyUI runs what an output node needs, and shows the preview of every node that it runs.
    prompt["saved"] = {
        "class_type": "IMAGDressingSaveGarment",
        "inputs": {"garment": [encode, 0], "filename_prefix": "cut_out"},
    }
    if wired != "image alone":
        prompt["inverted"] = {"class_type": "InvertMask", "inputs": {"mask": [load, 1]}}
        prompt[encode]["inputs"]["mask"] = [load, 1] if wired == "MASK" else ["inverted", 0]
    result = server.run(_only(prompt, {"saved"}))
    assert result.error is None, result.error
    with Image.open(io.BytesIO(server.image(result.outputs[encode]["images"][0]))) as seen:
        found: Any = [seen.convert("RGB").getpixel(at) for at in ((20, 4), (40, 76), (32, 40))]
    assert all(
        min(colour) > 100 and max(colour) - min(colour) < 12 for colour in found[:2]
    )  # dimmed where CLIP is blind
    assert found[2][0] > 150 and found[2][1] < 90
    said = {
        "image alone": "The transparent part of the image became background.",
        "MASK": "mask marks the corners and leaves the middle out",
        "Invert Mask": "",
    }[wired]
    assert said in "\n".join(result.outputs[encode]["imagdressing"])
    assert len(result.outputs[encode]["imagdressing"]) == (2 if said else 1)
    assert said in server.log.read_text()


def _only(prompt: Prompt, needed: set[str]) -> Prompt:
    """Return the part of a prompt that these nodes need."""
    waiting, found = list(needed), set(needed)
    while waiting:
        inputs = prompt[waiting.pop()]["inputs"].values()
        sources = {str(value[0]) for value in inputs if isinstance(value, list)} - found
        found |= sources
        waiting += sources
    return {node: prompt[node] for node in found}
