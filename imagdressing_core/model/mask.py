"""Where in the generated image a garment acts: masks brought to the token grid of each layer."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import IMAGDressingError


def as_masks(mask: Tensor, socket: str = "mask") -> Tensor:
    """Return a MASK as floats (masks, height, width), whichever of the shapes in use a node gave it.

    Those are (height, width), (masks, height, width), (masks, 1, height, width) and (masks, height, width, 1).
    Values outside 0 … 1, as 255 for white, are cut to it: they would multiply the strength of a garment.

    Args:
        mask: in any of these shapes; numbers, or true and false.
        socket: the name of the input, for errors.

    Raises:
        IMAGDressingError: it has another shape, is empty, or holds NaN or infinite values.
    """
    shape = tuple(mask.shape)
    if mask.ndim == 2:
        mask = mask.unsqueeze(0)
    elif mask.ndim == 4 and shape[1] == 1:
        mask = mask.squeeze(1)
    elif mask.ndim == 4 and shape[3] == 1:
        mask = mask.squeeze(3)
    if mask.ndim != 3 or not mask.numel():
        raise IMAGDressingError(
            f"{socket} has the shape {shape}; it must be (height, width) or (masks, height, width). Look at the node "
            "that makes it."
        )
    if not bool(torch.isfinite(mask).all()):
        raise IMAGDressingError(f"{socket} holds NaN or infinite values. Look at the node that makes it.")
    return mask.float().clamp(0, 1)


def has_shape_of(masks: Tensor, height: int, width: int) -> bool:
    """Return whether masks (n, height, width) have the aspect ratio of a latent, as closely as its cells allow."""
    rows, columns = masks.shape[-2:]
    return abs(rows * width - columns * height) <= max(rows, columns)


class TokenMasks:
    """Masks (n, height, width), 0 … 1, as each token's share of them, on every grid that is asked for.

    They are pooled on the CPU, since Macs cannot pool to every size, and once for each grid.
    device, dtype: of the result.
    """

    def __init__(self, masks: Tensor, device: torch.device, dtype: torch.dtype) -> None:
        self._masks = masks.float().cpu()
        self._device, self._dtype = device, dtype
        self._grids: dict[tuple[int, int], Tensor] = {}

    def on_grid(self, rows: int, columns: int) -> Tensor:
        """Return (n, rows · columns, 1)."""
        if (rows, columns) not in self._grids:
            tokens = mask_tokens(self._masks, rows, columns)
            self._grids[rows, columns] = tokens.to(self._device, self._dtype)
        return self._grids[rows, columns]


def mask_tokens(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Return masks (n, height, width), 0 … 1, as each token's share of them, (n, rows · columns, 1)."""
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
