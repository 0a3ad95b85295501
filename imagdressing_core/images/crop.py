"""The part of a photo around a mask, so that all pixels of the generation go where something is painted."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IMAGDressingError, require_between
from .garment_mask import MIDDLE_GREY
from .paste import mask_resized, paste_back, require_batches, resized

MULTIPLE = 8  # the VAE makes one latent pixel of 8 × 8
SMALLEST_PART, LARGEST_PART = 64, 4096  # pixels on a side
NARROWEST = 2 / 3  # SD1.5 draws narrower images badly


@dataclass(frozen=True)
class Box:
    """A part of an image, in its pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, batch: Tensor) -> Tensor:
        """Return this part of (batch, height, width) or (batch, height, width, channels)."""
        return batch[:, self.y : self.y + self.height, self.x : self.x + self.width]


def crop_to_mask(image: Tensor, mask: Tensor, margin: float, size: int) -> tuple[Tensor, Tensor, Box]:
    """Return the part of ``image`` around ``mask`` at the size to generate, the same part of the mask, and its place.

    Args:
        image: (batch, height, width, 3 or 4), 0 … 1.
        mask: (batch, height, width), 1 = to be painted; it is resized to the image. All masks share one box; an empty
            mask takes the whole image.
        margin: what is shown around the mask on each side, as a share of the mask's longer side, 0 … 2.
        size: the result has about as many pixels as a square of this side, 64 … 4096. Its sides are multiples of 8.

    Raises:
        IMAGDressingError: another rank, NaN, batches that do not go together, or a margin or size out of range.
    """
    require_between("margin", margin, 0, 2)
    require_between("size", size, SMALLEST_PART, LARGEST_PART)
    require_batches(mask, image=image)
    height, width = image.shape[1:3]
    mask = mask_resized(mask, image.shape[1:3])
    box = _box(mask, margin, width, height)
    scale = size / (box.width * box.height) ** 0.5
    shape = torch.Size(max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (box.height, box.width))
    part = resized(box.of(image[..., :3].float()).movedim(-1, 1), shape, "bicubic").clamp(0, 1).movedim(1, -1)
    return part, mask_resized(box.of(mask), shape), box


def paste_into_box(
    original: Tensor, generated: Tensor, mask: Tensor, feather: int, match_color: bool, box: Box
) -> Tensor:
    """Return :func:`paste_back` of ``generated``, which shows only the part ``box`` of ``original``.

    Raises:
        IMAGDressingError: as there, or a box that is not within the original.
    """
    require_batches(mask, original=original, generated=generated)
    height, width = original.shape[1:3]
    is_inside = min(box.x, box.y) >= 0 and box.x + box.width <= width and box.y + box.height <= height
    if not is_inside or min(box.width, box.height) < 1:
        raise IMAGDressingError(
            f"box is {box.width} × {box.height} pixels at ({box.x}, {box.y}), which is not within the original of "
            f"{width} × {height}. Connect the original that Crop to Mask got."
        )
    mask = mask_resized(mask, original.shape[1:3])
    part = paste_back(box.of(original), generated, box.of(mask), feather, match_color)
    result = original[..., :3].float().expand(len(part), -1, -1, -1).clone()
    box.of(result).copy_(part)
    return result


def _box(mask: Tensor, margin: float, width: int, height: int) -> Box:
    marked = (mask > MIDDLE_GREY).any(dim=0)
    if not bool(marked.any()):
        return Box(0, 0, width, height)
    columns, rows = (torch.nonzero(marked.any(dim=dim)).flatten().tolist() for dim in (0, 1))
    wide, high = columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    room = 2 * margin * max(wide, high)
    wide, high = wide + room, high + room
    wide, high = max(wide, high * NARROWEST), max(high, wide * NARROWEST)
    x, wide = _span(columns[0], columns[-1] + 1, wide, width)
    y, high = _span(rows[0], rows[-1] + 1, high, height)
    return Box(x, y, wide, high)


def _span(first: int, last: int, length: float, limit: int) -> tuple[int, int]:
    """Return start and length of a span around first … last, moved to lie within the image."""
    whole = min(limit, round(length))
    return max(0, min(limit - whole, round((first + last - whole) / 2))), whole
