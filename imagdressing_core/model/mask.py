"""Where in the generated image a garment acts: masks brought to the token grid of each layer."""

from torch import Tensor
from torch.nn.functional import interpolate


def mask_tokens(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Return masks (n, height, width), 0 … 1, as each token's share of the region, (n, rows · columns, 1)."""
    return _resize(masks, rows, columns).flatten(1).unsqueeze(-1)


def crop_mask(masks: Tensor, latent: tuple[int, int], area: tuple[int, int, int, int]) -> Tensor:
    """Cut masks of a whole image to an area of it.

    latent: (height, width) of the whole image's latent; area: (height, width, top, left) in the same units.
    """
    height, width, top, left = area
    return _resize(masks, *latent)[:, top : top + height, left : left + width]


def _resize(masks: Tensor, height: int, width: int) -> Tensor:
    # The mean over each cell: soft edges stay soft and a mask of ones stays exactly one.
    return interpolate(masks.unsqueeze(1), (height, width), mode="area").squeeze(1)
