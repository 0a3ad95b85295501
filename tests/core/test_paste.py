"""Paste Back: the generated part fades in inside the mask, and nothing changes outside it."""

import pytest
import torch

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.images.paste import feathered, paste_back


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def mask() -> torch.Tensor:
    mask = torch.zeros(1, 64, 48)
    mask[:, 16:48, 12:36] = 1
    return mask


@pytest.mark.parametrize("feather", [0, 1, 8, 256])
@pytest.mark.parametrize("match_color", [False, True])
def test_outside_the_mask_every_pixel_stays_exactly_as_it_was(mask: torch.Tensor, feather: int, match_color: bool):
    original, generated = images(2, 64, 48, 3), images(2, 64, 48, 3, seed=1)
    result = paste_back(original, generated, mask, feather, match_color)
    outside = (mask == 0).expand(2, -1, -1)
    assert torch.equal(result[outside], original[outside])
    assert bool((result >= 0).all() and (result <= 1).all())


def test_without_feather_the_generated_image_fills_the_mask(mask: torch.Tensor):
    original, generated = torch.zeros(1, 64, 48, 3), images(1, 64, 48, 3)
    result = paste_back(original, generated, mask, 0, False)
    inside = mask == 1
    assert torch.equal(result[inside], generated[inside])


def test_the_feather_rises_from_the_edge_to_one_inside():
    mask = torch.zeros(80, 80)
    mask[20:60, 20:60] = 1
    row = feathered(mask, 8)[40]
    assert float(row[19]) == 0
    assert bool((row[20:40].diff() >= 0).all())
    assert float(row[20]) < 0.3
    assert float(row[40]) == 1


def test_the_generated_image_and_the_mask_are_brought_to_the_originals_size(mask: torch.Tensor):
    original = images(1, 128, 96, 4)
    result = paste_back(original, torch.full((1, 32, 24, 3), 0.5), mask, 0, False)
    assert result.shape == (1, 128, 96, 3)
    assert float((result[:, 64, 48] - 0.5).abs().max()) < 1e-5
    assert torch.equal(result[:, 0], original[:, 0, :, :3])


def test_matching_colour_undoes_a_shift_of_the_whole_image(mask: torch.Tensor):
    original = 0.3 + 0.4 * images(1, 64, 48, 3)
    shifted = 0.8 * original + torch.tensor([0.1, 0.0, 0.05])
    assert float((paste_back(original, shifted, mask, 0, True) - original).abs().max()) < 1e-4
    assert float((paste_back(original, shifted, mask, 0, False) - original).abs().max()) > 0.03


def test_a_mask_of_everything_has_nothing_to_match_colour_by():
    generated = images(1, 16, 16, 3)
    assert torch.equal(paste_back(torch.zeros(1, 16, 16, 3), generated, torch.ones(1, 16, 16), 0, True), generated)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((64, 48, 3), (1, 64, 48, 3), (1, 64, 48)), "original must be a batch"),
        (((1, 64, 48, 3), (1, 64, 48, 1), (1, 64, 48)), "generated must be a batch"),
        (((1, 64, 48, 3), (1, 64, 48, 3), (64, 48)), "mask must be"),
        (((2, 64, 48, 3), (3, 64, 48, 3), (1, 64, 48)), "2 in original, 3 in generated, 1 in mask"),
    ],
)
def test_what_does_not_go_together_is_refused(shapes: tuple[tuple[int, ...], ...], message: str):
    original, generated, mask = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(IMAGDressingError, match=message):
        paste_back(original, generated, mask, 8, False)
