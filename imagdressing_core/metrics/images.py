"""Images and masks as arrays: read from files that may be anything, and prepared for CLIP and BLIP."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import first_line
from ..images.reading import upright_on_white
from .outcome import NoScore

if TYPE_CHECKING:
    from torch import Tensor

ImageArray = NDArray[numpy.uint8]  # (height, width, 3), RGB
Mask = NDArray[numpy.bool_]  # (height, width), True = garment
PromptScore: TypeAlias = Callable[[Sequence[str], Sequence[ImageArray]], list[float]]
"""Prompts and as many images → a score for each of both."""

SMALLEST_SIDE = 16
IMAGES_AT_ONCE = 16  # that a model takes
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"})
WHITE_FROM = 128  # a mask's grey edge is garment from here


def open_image(path: Path) -> Image.Image:
    """Read an image in RGB, turned as its EXIF entry says, transparent parts on white.

    Raises:
        NoScore: the file is missing, unreadable or damaged, under 16 pixels on a side, or not of 8 bits a channel.
    """
    return upright_on_white(_opened(path))


def read_image(path: Path) -> ImageArray:
    """Return :func:`open_image` as an array (height, width, 3)."""
    return numpy.array(open_image(path))


def read_mask(path: Path) -> Mask:
    """Read a mask (height, width): True where the file is lighter than mid grey, and not transparent.

    Raises:
        NoScore: as in :func:`open_image`.
    """
    image = _opened(path)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return numpy.array(image.convert("L")) >= WHITE_FROM


def checked_mask(image: ImageArray, mask: Mask | None, of: str) -> Mask:
    """Return the mask, or one of the whole image where there is none.

    Args:
        of: The name of the image in the error.

    Raises:
        NoScore: the mask is empty, or of another size than its image.
    """
    if mask is None:
        return numpy.ones(image.shape[:2], bool)
    if mask.shape != image.shape[:2]:
        sizes = " × ".join(map(str, mask.shape[::-1])), " × ".join(map(str, image.shape[1::-1]))
        raise NoScore(f"mask of another size than the {of}", f"{sizes[0]} for {sizes[1]} pixels")
    if not mask.any():
        raise NoScore(f"empty mask of the {of}")
    return mask


def cut_to_box(image: ImageArray, mask: Mask) -> tuple[ImageArray, Mask]:
    """Return both cut to the box around the mask's pixels, of which there is one at least."""
    rows, columns = numpy.flatnonzero(mask.any(axis=1)), numpy.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return image[box], mask[box]


def clip_pixels(images: Sequence[ImageArray], size: int) -> "Tensor":
    """Return images as OpenAI's CLIP and BLIP see them: the middle square, ``size`` pixels wide, normalised.

    Returns:
        Pixels (batch, 3, size, size), float32.
    """
    import torch
    from torchvision.transforms import v2

    from ..on_diffusers.official import CLIP_MEAN, CLIP_STD

    see = v2.Compose(
        [
            v2.Resize(size, v2.InterpolationMode.BICUBIC),  # of a PIL image, as in the official code
            v2.CenterCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    return torch.stack([see(Image.fromarray(image)) for image in images])


def in_batches(score: PromptScore) -> PromptScore:
    """Return ``score`` for any number of prompts and images, of which it gets a few at a time."""

    def scores(prompts: Sequence[str], images: Sequence[ImageArray]) -> list[float]:
        if len(prompts) != len(images):
            raise ValueError(f"{len(prompts)} prompts for {len(images)} images")
        parts = (slice(i, i + IMAGES_AT_ONCE) for i in range(0, len(prompts), IMAGES_AT_ONCE))
        return [one for part in parts for one in score(prompts[part], images[part])]

    return scores


def is_file(path: Path) -> bool:
    """Return whether a file is there; none is under a name that is too long, or in a folder that may not be read."""
    try:
        return path.is_file()
    except OSError:
        return False


def _opened(path: Path) -> Image.Image:
    if not is_file(path):
        raise NoScore("missing file", str(path))
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except Exception as error:  # whatever a decoder makes of a damaged file
        raise NoScore("unreadable file", f"{path} ({first_line(error)})") from error
    if image.mode not in EIGHT_BIT_MODES:
        raise NoScore("not an image of 8 bits a channel", f"{path} has mode {image.mode}")
    if min(image.size) < SMALLEST_SIDE:
        raise NoScore("image too small", f"{path} is {image.width} × {image.height} pixels")
    return image
