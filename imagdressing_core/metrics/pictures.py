"""Pictures and masks as arrays, read from files that may be anything."""

from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import first_line
from .outcome import NoScore

Picture = NDArray[numpy.uint8]  # (height, width, 3), RGB
Mask = NDArray[numpy.bool_]  # (height, width), True = garment

SMALLEST_SIDE = 16
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"})
TRANSPARENT_MODES = frozenset({"LA", "PA", "RGBA", "RGBa"})
WHITE_FROM = 128  # a mask's grey edge is garment from here


def read_picture(path: Path) -> Picture:
    """Read a picture as RGB (height, width, 3), turned as its EXIF says, transparency on white.

    Raises:
        NoScore: the file is missing, unreadable, damaged, under 16 pixels on a side, or not of 8 bits a channel.
    """
    image = _read(path)
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return numpy.array(image.convert("RGB"))


def read_mask(path: Path) -> Mask:
    """Read a mask (height, width): True where the file is lighter than mid grey.

    Raises:
        NoScore: as in :func:`read_picture`.
    """
    return numpy.array(_read(path).convert("L")) >= WHITE_FROM


def checked_mask(picture: Picture, mask: Mask | None, of: str) -> Mask:
    """Return the mask, or one of the whole picture where there is none. of: what the picture shows.

    Raises:
        NoScore: the mask is empty, or of another size than its picture.
    """
    if mask is None:
        return numpy.ones(picture.shape[:2], bool)
    if mask.shape != picture.shape[:2]:
        sizes = " × ".join(map(str, mask.shape[::-1])), " × ".join(map(str, picture.shape[1::-1]))
        raise NoScore(f"mask of another size than the {of}", f"{sizes[0]} for {sizes[1]} pixels")
    if not mask.any():
        raise NoScore(f"empty mask of the {of}")
    return mask


def _read(path: Path) -> Image.Image:
    if not path.is_file():
        raise NoScore("missing file", str(path))
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except Exception as error:  # whatever a decoder makes of a damaged file
        raise NoScore("unreadable file", f"{path} ({first_line(error)})") from error
    if image.mode not in EIGHT_BIT_MODES:
        raise NoScore("not a picture of 8 bits a channel", f"{path} has mode {image.mode}")
    if min(image.size) < SMALLEST_SIDE:
        raise NoScore("picture too small", f"{path} is {image.width} × {image.height} pixels")
    return image
