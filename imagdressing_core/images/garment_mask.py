"""Which part of an image is the garment: told by a mask, or by the transparency that a loader left out of the image."""

from dataclasses import dataclass

import torch
from torch import Tensor

# A mask that stays below marks nothing: a loader that reads alpha 254 of 255 gives an opaque image a mask of 1/255.
FAINTEST = 1 / 32
MIDDLE_GREY = 0.5
ALIKE = 0.03  # shapes that differ by less than this share of a side
VAE_CELL = 8  # pixels
BORDER = 1 / 50  # of a side
CLEARER = 1 / 4  # by at least this much the border of a mask of the surroundings exceeds the middle


@dataclass(frozen=True)
class GarmentMask:
    """Where the garment is in each image.

    masks: (1 or images, height, width), 1 = garment; None where all of the image is.
    note: a sentence for the user on what was done without being asked; empty if nothing was.
    """

    masks: Tensor | None
    note: str = ""


def garment_mask(masks: Tensor | None, transparency: Tensor | None = None) -> GarmentMask:
    """Decide where the garment is.

    ComfyUI's Load Image drops an image's transparency, and gives it as a MASK that is white where the image is clear:
    the wrong way round for a garment. A mask painted in its editor is white where it was painted: the right way. The
    two are told apart by what they mark: around a product cut out of its background, all four corners.

    Args:
        masks: The user's masks, (1 or images, height, width), 1 = garment; None without.
        transparency: The transparency of the images, of the same shape, 1 = clear; None where it is not known.
    """
    if masks is not None:
        inverted = [marks_surroundings(mask) for mask in masks]
        if not any(inverted):
            return GarmentMask(masks)
        turned = torch.stack([1 - mask if turn else mask for mask, turn in zip(masks, inverted, strict=True)])
        note = (
            "mask marks the corners and leaves the middle out, as Load Image's MASK of a cut-out image does: it was "
            "inverted, so that the garment is what is in the middle. To mark it yourself, put Invert Mask in between."
        )
        return GarmentMask(turned, note)
    if transparency is not None and all(marks_surroundings(mask) for mask in transparency):
        return GarmentMask(1 - transparency, "The transparent part of the image became background.")
    return GarmentMask(None)


def doubt(masks: Tensor, if_empty: str, half_counts: bool = True) -> str | None:
    """Return a warning if masks (n, height, width) look unintended, else None.

    Args:
        if_empty: The consequence of an empty mask, as a clause.
        half_counts: Whether what is not lighter than middle grey marks anything.
    """
    lightest = [float(mask.max()) for mask in masks]
    empty = [
        str(number)
        for number, value in enumerate(lightest, 1)
        if value < FAINTEST or (value <= MIDDLE_GREY and not half_counts)
    ]
    if len(empty) == len(masks) and max(lightest) >= FAINTEST:
        return f"The mask is nowhere lighter than middle grey, so {if_empty}. Paint or connect a lighter one."
    if len(empty) == len(masks):
        return f"The mask is empty, so {if_empty}. Paint or connect a mask."
    if empty:
        return f"Of {len(masks)} masks these are empty: {', '.join(empty)}. Where one is used, {if_empty}."
    if any(marks_surroundings(mask) for mask in masks):
        return (
            "The mask marks the corners and leaves the middle out, as Load Image's MASK of a cut-out image does. If "
            "you mean the middle, put Invert Mask in between."
        )
    return None


def stretched(masks: Tensor, image: Tensor) -> str | None:
    """Return a warning if masks (n, height, width) differ in shape from images (batch, height, width, channels).

    They may differ by the 8 pixels to which a VAE cuts an image.
    """
    (rows, columns), (height, width) = masks.shape[-2:], image.shape[1:3]
    if abs(rows * width / columns - height) <= max(VAE_CELL, ALIKE * height):
        return None
    return (
        f"The mask is stretched: it is {columns} × {rows} pixels and the image {width} × {height}, which is another "
        "shape. Crop and scale both in the same way."
    )


def marks_surroundings(mask: Tensor) -> bool:
    """Return whether a mask (height, width) marks all four corners, and the border more than the middle."""
    height, width = mask.shape
    rows, columns = max(1, round(height * BORDER)), max(1, round(width * BORDER))
    mask = mask.float()
    corners = [
        mask[y, x].mean() for y in (slice(rows), slice(-rows, None)) for x in (slice(columns), slice(-columns, None))
    ]
    border = torch.cat(
        [side.flatten() for side in (mask[:rows], mask[-rows:], mask[:, :columns], mask[:, -columns:])]
    ).mean()
    middle = mask[height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None].mean()
    return bool(min(corners) > 0.5 and border - middle > CLEARER)
