"""Crop to Mask, and the way back: the part is where it was, everything else is untouched."""

import pytest
import torch
from torch import Tensor

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.images.crop import Box, crop_to_mask, paste_into_box

PHOTO = torch.rand((1, 900, 506, 3), generator=torch.Generator().manual_seed(3))  # 9:16, as a telephone makes it


def marked(left: int, top: int, right: int, bottom: int, size: tuple[int, int] = (900, 506)) -> Tensor:
    mask = torch.zeros(1, *size)
    mask[:, top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize("corners", [(150, 250, 350, 500), (0, 0, 60, 90), (400, 800, 506, 900), (0, 0, 506, 900)])
@pytest.mark.parametrize("margin", [0.0, 0.25, 2.0])
def test_the_box_holds_the_mask_lies_in_the_image_and_keeps_its_aspect(
    corners: tuple[int, int, int, int], margin: float
):
    part, mask, box = crop_to_mask(PHOTO, marked(*corners), margin, 576)
    left, top, right, bottom = corners
    assert 0 <= box.x <= left and right <= box.x + box.width <= 506
    assert 0 <= box.y <= top and bottom <= box.y + box.height <= 900
    height, width = part.shape[1:3]
    assert mask.shape[1:] == (height, width) and height % 8 == width % 8 == 0
    assert abs(width / height / (box.width / box.height) - 1) < 8 / min(width, height)
    assert abs(height * width / 576**2 - 1) < 0.05


def test_a_narrow_mask_gets_a_part_that_is_two_thirds_as_wide_as_high():
    _, _, box = crop_to_mask(PHOTO, marked(240, 100, 260, 700), 0.0, 576)
    assert (box.width, box.height) == (400, 600)


def test_a_garment_that_fills_a_ninth_of_the_photo_gets_all_the_pixels():
    part, _, box = crop_to_mask(PHOTO, marked(150, 250, 320, 550), 0.1, 576)
    assert part.shape[1] * part.shape[2] > 3 * box.width * box.height


def test_an_empty_mask_takes_the_whole_image():
    assert crop_to_mask(PHOTO, torch.zeros(1, 900, 506), 0.25, 576)[2] == Box(0, 0, 506, 900)


def test_a_mask_of_another_size_marks_the_same_part():
    small = marked(100, 200, 200, 400, (450, 253)), marked(200, 400, 400, 800)
    assert crop_to_mask(PHOTO, small[0], 0.1, 576)[2] == crop_to_mask(PHOTO, small[1], 0.1, 576)[2]


def test_cropped_and_pasted_back_only_the_marked_pixels_change():
    mask = marked(150, 250, 350, 500)
    part, _, box = crop_to_mask(PHOTO, mask, 0.25, 576)
    result = paste_into_box(PHOTO, torch.zeros_like(part), mask, 0, False, box)
    assert torch.equal(result[mask == 0], PHOTO[mask == 0])
    assert bool((result[mask == 1] == 0).all())


def test_the_part_itself_comes_back_where_it_was():
    mask = marked(150, 250, 350, 500)
    smooth = torch.linspace(0, 1, 506).expand(1, 900, 506).unsqueeze(-1).repeat(1, 1, 1, 3)
    part, _, box = crop_to_mask(smooth, mask, 0.25, 576)
    assert torch.allclose(paste_into_box(smooth, part, mask, 8, False, box), smooth, atol=2e-3)


def test_one_photo_takes_a_batch_of_generated_parts():
    mask = marked(150, 250, 350, 500)
    part, _, box = crop_to_mask(PHOTO, mask, 0.25, 576)
    assert paste_into_box(PHOTO, part.repeat(3, 1, 1, 1), mask, 8, True, box).shape == (3, 900, 506, 3)


def test_a_box_of_another_image_is_rejected():
    mask = marked(150, 250, 350, 500)
    with pytest.raises(IMAGDressingError, match=r"box is 600 × 10 pixels at \(0, 0\).*506 × 900"):
        paste_into_box(PHOTO, PHOTO, mask, 0, False, Box(0, 0, 600, 10))
