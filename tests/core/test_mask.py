"""Masks on the token grids of the layers."""

import pytest
import torch

from imagdressing_core.model.layers import LAYERS
from imagdressing_core.model.mask import as_masks, crop_mask, mask_tokens


@pytest.mark.parametrize("latent", [(80, 64), (10, 8), (9, 15)], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (640, 512)], ids=str)
def test_a_mask_of_ones_is_exactly_one_at_every_token(latent: tuple[int, int], size: tuple[int, int]):
    for layer in LAYERS:
        rows, columns = layer.grid(*latent)
        tokens = mask_tokens(torch.ones(2, *size), rows, columns)
        assert torch.equal(tokens, torch.ones(2, rows * columns, 1))


def test_a_token_has_the_share_of_the_mask_in_its_cell():
    mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]])
    assert mask_tokens(mask, 1, 2)[0, :, 0].tolist() == [0.5, 0.25]


def test_tokens_run_row_by_row():
    mask = torch.zeros(1, 4, 6)
    mask[0, 1, 2] = 1
    assert mask_tokens(mask, 4, 6)[0, :, 0].nonzero().item() == 1 * 6 + 2


def test_an_area_gets_its_own_part_of_the_mask():
    mask = torch.zeros(1, 80, 64)
    mask[:, 40:, :] = 1
    lower = crop_mask(mask, (10, 8), (5, 8, 5, 0))
    upper = crop_mask(mask, (10, 8), (5, 8, 0, 0))
    assert torch.equal(lower, torch.ones(1, 5, 8))
    assert torch.equal(upper, torch.zeros(1, 5, 8))


def test_a_mask_of_truth_values_is_one_of_numbers():
    assert torch.equal(1 - as_masks(torch.tensor([[True, False]])), torch.tensor([[[0.0, 1.0]]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_mask_from_0_to_255_is_one_from_0_to_1(dtype: torch.dtype):
    assert torch.equal(as_masks(torch.tensor([[255, 0]], dtype=dtype)), torch.tensor([[[1.0, 0.0]]]))


def test_a_mask_below_zero_marks_nothing():
    assert torch.equal(as_masks(torch.tensor([[-1.0, 0.5]])), torch.tensor([[[0.0, 0.5]]]))
