"""The control image of ControlNet Inpaint is the official one, pixel by pixel."""

import numpy
import pytest
import torch
from PIL import Image

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.images.inpaint_control import inpaint_control


def official(image: Image.Image, mask: Image.Image) -> torch.Tensor:
    """``make_inpaint_condition`` as diffusers' guide to ControlNet Inpaint gives it, of one image."""
    pixels = numpy.array(image.convert("RGB")).astype(numpy.float32) / 255.0
    pixels[numpy.array(mask.convert("L")).astype(numpy.float32) / 255.0 > 0.5] = -1.0
    return torch.from_numpy(pixels)


def random(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(0).integers(0, 256, shape, dtype=numpy.uint8)


def test_it_is_the_official_condition_also_where_a_mask_is_grey():
    pixels, greys = random(64, 48, 3), random(64, 48)
    greys[0, :4] = (0, 127, 128, 255)
    ours = inpaint_control(torch.from_numpy(pixels / numpy.float32(255))[None], torch.from_numpy(greys / 255.0)[None])
    assert torch.equal(ours[0], official(Image.fromarray(pixels), Image.fromarray(greys)))
    assert ours[0, 0, :4, 0].eq(-1).tolist() == [False, False, True, True]


def test_the_mask_is_brought_to_the_images_size_and_leaves_no_value_in_between():
    image, mask = torch.rand(1, 80, 64, 3), torch.zeros(1, 40, 32)
    mask[:, 10:30, 8:24] = 1
    ours = inpaint_control(image, mask)
    marked = ours.eq(-1).all(-1)
    assert marked[0, 20:60, 16:48].all()
    assert int(marked.sum()) == 40 * 32
    assert torch.equal(ours[~marked], image[~marked])


@pytest.mark.parametrize(("images", "masks"), [(1, 3), (3, 1), (3, 3)])
def test_one_image_goes_with_many_masks_and_one_mask_with_many_images(images: int, masks: int):
    image, mask = torch.rand(images, 16, 16, 3), torch.rand(masks, 16, 16)
    ours = inpaint_control(image, mask)
    assert ours.shape == (3, 16, 16, 3)
    for index, one in enumerate(ours):
        alone = inpaint_control(image[index % images][None], mask[index % masks][None])
        assert torch.equal(one, alone[0])


def test_alpha_is_left_out_and_half_precision_taken():
    image = torch.rand(1, 16, 16, 4).half()
    ours = inpaint_control(image, torch.zeros(1, 8, 8).half())
    assert torch.equal(ours, image[..., :3].float())


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((16, 16, 3), (1, 16, 16), "image must be a batch"),
        ((1, 16, 16, 3), (16, 16), "mask must be"),
        ((2, 16, 16, 3), (3, 16, 16), "2 in image, 3 in mask"),
    ],
)
def test_what_does_not_go_together_is_rejected(image: tuple[int, ...], mask: tuple[int, ...], message: str):
    with pytest.raises(IMAGDressingError, match=message):
        inpaint_control(torch.zeros(image), torch.zeros(mask))
