"""Masks that look unintended get a warning, and only those."""

import pytest
import torch

from imagdressing_core.images.garment_mask import doubt


def middle() -> torch.Tensor:
    mask = torch.zeros(1, 60, 40)
    mask[:, 20:40, 12:28] = 1
    return mask


EMPTY, FULL = torch.zeros(1, 60, 40), torch.ones(1, 60, 40)


@pytest.mark.parametrize("faint", [0.0, 1 / 255])
def test_an_empty_mask_is_said_with_what_it_leads_to(faint: float):
    text = doubt(EMPTY + faint, "nothing happens")
    assert text == "The mask is empty, so nothing happens. Paint or connect a mask."


def test_empty_ones_among_others_are_named():
    text = doubt(torch.cat([middle(), EMPTY, FULL, EMPTY]), "nothing happens")
    assert text == "Of 4 masks these are empty: 2, 4. Where one is used, nothing happens."


def test_a_mask_that_leaves_the_middle_out_is_said():
    text = doubt(1 - middle(), "nothing happens")
    assert text is not None
    assert text.startswith("The mask marks the corners and leaves the middle out")


@pytest.mark.parametrize("mask", [middle(), FULL, middle() * 0.5, FULL * 0.1], ids=["middle", "all", "grey", "faint"])
def test_other_masks_are_not_doubted(mask: torch.Tensor):
    assert doubt(mask, "nothing happens") is None


def test_a_mask_of_the_top_or_of_one_side_is_not_doubted():
    for part in ((slice(0, 30), slice(None)), (slice(None), slice(0, 20))):
        mask = torch.zeros(1, 60, 40)
        mask[0][part] = 1
        assert doubt(mask, "nothing happens") is None
