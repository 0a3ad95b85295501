"""Inpaint Control Image before ComfyUI's own ControlNet: the marks arrive at the network as they were set."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from support import comfyui_process as comfyui
from support.narrow_unet import NEGATIVE, POSITIVE, narrow_model, prompt, sample
from support.other_nodes import controlnet_model

IMAGE = torch.rand((1, 80, 64, 3), generator=torch.Generator().manual_seed(5))


def control_image(mask: torch.Tensor, image: torch.Tensor = IMAGE) -> torch.Tensor:
    return comfyui.call("IMAGDressingInpaintControl", image=image, mask=mask)


def middle(height: int = 80, width: int = 64) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : -height // 4, width // 4 : -width // 4] = 1
    return mask


def seen_by_controlnet(image: torch.Tensor, batch: int = 1) -> torch.Tensor:
    """Return the control image as the network itself gets it, (rows, 3, height, width)."""
    network = controlnet_model().control_model
    seen: list[torch.Tensor] = []
    hook = network.register_forward_pre_hook(
        lambda _, given, named: seen.append(named["hint"].clone()), with_kwargs=True
    )
    positive, negative = comfyui.call(
        "ControlNetApplyAdvanced",
        positive=prompt(POSITIVE),
        negative=prompt(NEGATIVE),
        control_net=controlnet_model(),
        image=image,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    try:
        sample(narrow_model(), batch, size=(10, 8), positive=positive, negative=negative, steps=1)
    finally:
        hook.remove()
    return seen[0]


@pytest.mark.parametrize("scale", [1, 2])
def test_the_network_sees_the_image_and_minus_one_where_the_mask_is(scale: int):
    image = IMAGE.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    seen = seen_by_controlnet(control_image(middle(), image))
    expected = torch.where(middle()[..., None] > 0.5, -1.0, IMAGE).movedim(-1, 1)
    assert seen.shape[1:] == (3, 80, 64)
    assert all(torch.allclose(row, expected[0], atol=1e-6) for row in seen.float())


def test_each_image_of_a_batch_keeps_its_own_marks():
    masks = torch.cat([middle(), 1 - middle()])
    seen = seen_by_controlnet(control_image(masks), batch=2)
    marked = seen.eq(-1).all(1)
    assert [bool(torch.equal(row, masks[index % 2] > 0.5)) for index, row in enumerate(marked)] == [True] * len(seen)


def test_an_empty_mask_is_said_and_nothing_is_marked(caplog: pytest.LogCaptureFixture):
    assert torch.equal(control_image(torch.zeros(1, 40, 32)), IMAGE)
    (record,) = [record for record in caplog.records if record.getMessage().startswith("IMAGDressing: ")]
    assert "The mask is empty, so no part of the image is marked" in record.getMessage()


def test_a_preview_shows_the_marks_as_black():
    import folder_paths

    (saved,) = comfyui.node_function("PreviewImage")(images=control_image(middle()))["ui"]["images"]
    shown = Image.open(Path(folder_paths.get_temp_directory()) / saved["filename"])
    assert shown.getpixel((32, 40)) == (0, 0, 0)
