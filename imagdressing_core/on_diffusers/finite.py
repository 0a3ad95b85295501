"""Images that can be made: of a size that the models take, and of finite numbers."""

from typing import Any

import numpy
from PIL import Image

from ..errors import IMAGDressingError

SIDE = 8  # images' sides are multiples of it, as diffusers demands


class NotFinite(IMAGDressingError):
    """An image came out as NaN or infinite values, which would be black as a file."""


def require_size(width: int, height: int) -> None:
    """Raise IMAGDressingError unless an image of this size, in pixels, can be made."""
    if width % SIDE or height % SIDE or min(width, height) < SIDE:
        raise IMAGDressingError(f"An image of {width} × {height} cannot be made: take multiples of {SIDE}.")


def finite_images(arrays: Any) -> list[Image.Image]:
    """Return diffusers' arrays (images, height, width, 3), 0 … 1, as images.

    Raises:
        NotFinite: one of them has NaN or infinite values.
    """
    if not numpy.isfinite(arrays).all():
        raise NotFinite("it has NaN or infinite values: try lower guidance or strength, or another VAE or precision")
    return [Image.fromarray((array * 255).round().astype("uint8")) for array in arrays]
