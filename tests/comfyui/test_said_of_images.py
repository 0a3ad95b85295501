"""What the nodes on images and masks could not do as they were asked to, they say on themselves and in the log."""

from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import encoding
from support.narrow_encoder import narrow_encoder

EMPTY = "The mask is empty, so "
INVERTED = "The mask marks the corners and leaves the middle out"


def spot(size: int, lightness: float = 1.0) -> torch.Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[:, 20 : 20 + size, 20 : 20 + size] = lightness
    return mask


@pytest.mark.parametrize("node", ["IMAGDressingPasteBack", "IMAGDressingInpaintControl"])
def test_nodes_on_images_say_it_on_themselves_and_in_the_log(said: Any, node: str):
    image = torch.rand(1, 32, 32, 3)
    inputs: dict[str, Any] = {"original": image, "generated": image, "feather": 8, "match_color": False}
    inputs = inputs if node == "IMAGDressingPasteBack" else {"image": image}

    def texts(mask: torch.Tensor) -> list[str]:
        output = comfyui.node_function(node)(mask=mask, **inputs)
        assert torch.isfinite(output.result[0]).all()
        return output.ui["imagdressing"]

    inverted = torch.ones(1, 32, 32)
    inverted[:, 8:24, 8:24] = 0
    for mask, text in ((torch.zeros(1, 32, 32), EMPTY), (inverted, INVERTED)):
        (shown,) = texts(mask)
        assert shown.startswith(f"⚠ {text}")
        assert said() == [shown.removeprefix("⚠ ")]
    assert texts(1 - inverted) == []
    assert said() == []


@pytest.mark.parametrize(
    "node",
    ["IMAGDressingEncodeGarment", "IMAGDressingCropToMask", "IMAGDressingInpaintControl", "IMAGDressingPasteBack"],
)
def test_a_mask_of_another_shape_than_its_image(said: Any, node: str):
    image = torch.rand(1, 80, 64, 3)
    inputs: dict[str, Any] = {
        "IMAGDressingEncodeGarment": {"imagdressing": narrow_encoder(), "vae": encoding.vae(), "fit": "pad"}
        | {"clip_vision": encoding.short_clip_vision(), "width": 64, "height": 64, "image": image},
        "IMAGDressingCropToMask": {"image": image, "margin": 0.25, "size": 64},
        "IMAGDressingInpaintControl": {"image": image},
        "IMAGDressingPasteBack": {"original": image, "generated": image, "feather": 0, "match_color": False},
    }[node]
    for height, width, count in ((80, 64, 0), (800, 640, 0), (797, 641, 0), (64, 64, 1), (64, 80, 1)):
        mask = torch.zeros(1, height, width)
        mask[:, height // 4 : height // 2, width // 4 : width // 2] = 1
        comfyui.node_function(node)(mask=mask, **inputs)
        assert [text.startswith("The mask is stretched: it is") for text in said()] == [True] * count


@pytest.mark.parametrize("node", ["IMAGDressingCropToMask", "IMAGDressingInpaintControl"])
def test_a_mask_no_lighter_than_middle_grey_marks_nothing_where_half_counts_as_black(said: Any, node: str):
    more = {"margin": 0.25, "size": 64} if node == "IMAGDressingCropToMask" else {}
    for mask, count in ((spot(24, 0.5), 1), (spot(24, 0.6), 0), (spot(1).repeat_interleave(2, 1)[:, ::32, ::32], 1)):
        comfyui.node_function(node)(image=torch.rand(1, 64, 64, 3), mask=mask, **more)
        assert len(said()) == count


def test_an_empty_mask_beside_another_is_not_doubted_where_both_share_the_box(said: Any):
    masks = torch.cat([spot(24), torch.zeros(1, 64, 64)])
    image = torch.rand(1, 64, 64, 3)
    comfyui.call("IMAGDressingCropToMask", image=image, mask=masks, margin=0.0, size=64)
    assert said() == []


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize(
    ("mask", "settings", "text"),
    [
        (spot(4), {"feather": 16}, "Nothing of the generated image shows: the mask is too narrow"),
        (spot(30, 0.3), {"feather": 16}, "Nothing of the generated image shows: the mask is too narrow or too dark"),
        (torch.ones(1, 64, 64), {"match_color": True}, "match_color changes nothing"),
        (spot(30), {"feather": 8, "match_color": True}, None),
    ],
    ids=["narrow", "dark", "everything", "usual"],
)
def test_what_pasting_back_could_not_do(said: Any, mask: torch.Tensor, settings: Any, text: str | None, boxed: bool):
    box = {"box": {"x": 4, "y": 4, "width": 56, "height": 56}} if boxed else {}
    inputs = {"feather": 0, "match_color": False} | settings | box
    original, generated = torch.rand(2, 64, 64, 4), torch.rand(1, 56, 56, 3)
    pasted = comfyui.call("IMAGDressingPasteBack", original=original, generated=generated, mask=mask, **inputs)
    assert torch.equal(pasted, original[..., :3]) == (text is not None and text.startswith("Nothing"))
    assert [found[: len(text or "")] for found in said()] == ([] if text is None else [text])
