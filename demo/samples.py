"""The images that the shipped workflows start from, of the drawn world: nobody else has rights in them.

``python -m demo.samples FOLDER`` draws them.
"""

import argparse
import dataclasses
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

from . import drawing, world

WIDTH, GARMENT_WIDTH = 512, 768
SHIRT = drawing.Cloth("shirt", "stripes", (31, 58, 95), (243, 233, 210))
TROUSERS = drawing.Cloth("trousers", "checks", (200, 151, 63), (107, 68, 35))
GREY_SHIRT = drawing.Cloth("shirt", "plain", (154, 167, 173), drawing.WHITE)
GREY_TROUSERS = drawing.Cloth("trousers", "plain", (85, 96, 107), drawing.WHITE)
SOMEBODY = world.Person(
    subject="woman",
    hair="brown",
    scene="studio",
    pose="waving",
    skin=world.SKIN[1],
    shirt=GREY_SHIRT,
    trousers=GREY_TROUSERS,
    centre=0.5,
    size=1.0,
    arms=((18.0, 8.0), (110.0, 170.0)),
    legs=(5.0, 5.0),
    seed=7,
)
GROWN = 2 * 14 + 1  # pixels by which the transparent part is larger than the old garment, and one
SOFT = 12  # pixels


def person() -> Image.Image:
    """Return somebody in a plain grey shirt; what may be dressed anew is transparent."""
    image = world.image(SOMEBODY, WIDTH)
    shirt = world.mask(SOMEBODY, "shirt", WIDTH).filter(ImageFilter.MaxFilter(GROWN)).point([0, *[255] * 255])
    image.putalpha(ImageOps.invert(shirt))
    return image


def worn() -> Image.Image:
    """Return somebody in the sample shirt: a garment that is to be taken off its photo."""
    return world.image(dataclasses.replace(SOMEBODY, shirt=SHIRT), WIDTH)


def half(upper: bool) -> Image.Image:
    """Return where a top is worn, white, or trousers: above the waist or below it."""
    size = (WIDTH, round(WIDTH * drawing.ASPECT))
    waist = round(WIDTH * world.Body(SOMEBODY).at(0, -0.44)[1])
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, WIDTH, waist) if upper else (0, waist, *size))
    return mask.filter(ImageFilter.GaussianBlur(SOFT)).convert("RGB")


SAMPLES = {
    "imagdressing_shirt.png": lambda: drawing.garment_image(SHIRT, GARMENT_WIDTH),
    "imagdressing_trousers.png": lambda: drawing.garment_image(TROUSERS, GARMENT_WIDTH),
    "imagdressing_pose.png": lambda: world.pose_image(SOMEBODY, WIDTH),
    "imagdressing_person.png": person,
    "imagdressing_worn.png": worn,
    "imagdressing_upper.png": lambda: half(upper=True),
    "imagdressing_lower.png": lambda: half(upper=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in SAMPLES.items():
        draw().save(folder / name, optimize=True)


if __name__ == "__main__":
    main()
