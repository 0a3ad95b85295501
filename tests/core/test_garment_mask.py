"""The garment in an image: what a user's mask marks, whichever way round, and what a loader knew of transparency."""

import pytest
import torch

from imagdressing_core.images.garment_mask import garment_mask, marks_surroundings


def shirt(height: int = 90, width: int = 60) -> torch.Tensor:
    """Return the mask of a product in the middle, (1, height, width)."""
    mask = torch.zeros(1, height, width)
    mask[:, height // 5 : -height // 5, width // 5 : -width // 5] = 1
    return mask


def tight(height: int = 90, width: int = 60) -> torch.Tensor:
    """Return the mask of a product cut so close that it touches all four sides, as trimmed cut-outs do."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (x.abs() + y.abs() <= 1).float().unsqueeze(0)


def trousers(height: int = 90, width: int = 60) -> torch.Tensor:
    """Return the mask of two legs with a gap between them, where the very centre is."""
    mask = torch.zeros(1, height, width)
    mask[:, 5:-5, width // 6 : width * 5 // 12] = 1
    mask[:, 5:-5, width * 7 // 12 : -width // 6] = 1
    return mask


CUT_OUTS = {"shirt": shirt(), "tight": tight(), "trousers": trousers(), "small": shirt(5, 5)}


@pytest.mark.parametrize("kind", CUT_OUTS)
def test_a_mask_of_the_garment_stays_as_it_is(kind: str):
    found = garment_mask(CUT_OUTS[kind])
    assert found.masks is CUT_OUTS[kind]
    assert found.note == ""


@pytest.mark.parametrize("kind", CUT_OUTS)
def test_a_mask_of_the_surroundings_is_inverted_and_that_is_said(kind: str):
    found = garment_mask(1 - CUT_OUTS[kind])
    assert found.masks is not None and torch.equal(found.masks, CUT_OUTS[kind])
    assert "Load Image" in found.note and "inverted" in found.note


@pytest.mark.parametrize("kind", CUT_OUTS)
def test_transparent_surroundings_are_no_garment(kind: str):
    found = garment_mask(None, 1 - CUT_OUTS[kind])
    assert found.masks is not None and torch.equal(found.masks, CUT_OUTS[kind])
    assert "transparent" in found.note


def test_a_users_mask_is_taken_before_the_transparency():
    assert garment_mask(tight(), 1 - shirt()).masks is not None
    assert torch.equal(garment_mask(tight(), 1 - shirt()).masks, tight())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "mask",
    [torch.zeros(40, 40), torch.ones(40, 40), torch.full((40, 40), 1 / 255), torch.eye(40), shirt()[0]],
    ids=["empty", "whole", "faint", "diagonal", "middle"],
)
def test_other_masks_mark_no_surroundings(mask: torch.Tensor):
    assert not marks_surroundings(mask)


def test_painted_transparency_in_the_middle_is_left_alone():
    """In ComfyUI's mask editor a user paints the garment; the file is transparent there, and its colours are right."""
    assert garment_mask(None, shirt()).masks is None


def test_a_fabric_that_fills_the_image_keeps_a_small_hole():
    fabric = torch.ones(1, 90, 90)
    fabric[:, 40:50, 40:50] = 0
    assert garment_mask(fabric).masks is fabric


def test_only_the_inverted_ones_of_several_masks_are_inverted():
    both = torch.cat([shirt(), 1 - shirt()])
    found = garment_mask(both)
    assert found.masks is not None and torch.equal(found.masks, torch.cat([shirt(), shirt()]))
