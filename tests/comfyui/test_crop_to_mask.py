"""Crop to Mask and Paste Back as nodes: the box goes from one to the other, in between only the part is painted."""

import pytest
import torch
from support import comfyui_process as comfyui

PHOTO = torch.rand((1, 450, 253, 3), generator=torch.Generator().manual_seed(7))
MASK = torch.zeros(1, 450, 253)
MASK[:, 150:300, 80:180] = 1


def test_only_what_the_mask_marks_changes_in_the_photo():
    part, mask, box = comfyui.call("IMAGDressingCropToMask", image=PHOTO, mask=MASK, margin=0.25, size=128)
    assert part.shape[1:3] == mask.shape[1:3] and max(part.shape[1:3]) < 200
    settings = {"feather": 0, "match_color": False}
    pasted = comfyui.call(
        "IMAGDressingPasteBack", original=PHOTO, generated=torch.ones_like(part), mask=MASK, box=box, **settings
    )
    assert torch.equal(pasted[MASK == 0], PHOTO[MASK == 0])
    assert torch.allclose(pasted[MASK == 1], torch.ones(1))


def test_the_part_is_the_photo_within_the_box():
    part, _, box = comfyui.call("IMAGDressingCropToMask", image=PHOTO, mask=MASK, margin=0.25, size=128)
    cropped = PHOTO[:, box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
    resized = torch.nn.functional.interpolate(
        cropped.movedim(-1, 1), part.shape[1:3], mode="bicubic", antialias=True
    ).movedim(1, -1)
    assert torch.allclose(resized.clamp(0, 1), part, atol=1e-6)


@pytest.mark.parametrize("box", [[{"x": 0, "y": 0, "width": 9, "height": 9}], {"x": 0}, "left"])
def test_another_box_is_rejected_by_name(box: object):
    with pytest.raises(ValueError, match="box"):
        comfyui.call(
            "IMAGDressingPasteBack", original=PHOTO, generated=PHOTO, mask=MASK, feather=0, match_color=False, box=box
        )


def test_an_empty_mask_takes_the_whole_photo():
    _, _, box = comfyui.call("IMAGDressingCropToMask", image=PHOTO, mask=MASK * 0, margin=0.25, size=128)
    assert box == {"x": 0, "y": 0, "width": 253, "height": 450}
