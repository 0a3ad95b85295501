"""The pictures that the shipped workflows start from, drawn here so that they are free of anyone's rights.

Run as a script it draws them into ``workflows/input``.
"""

import math
from pathlib import Path

from comfy_host import REPOSITORY
from PIL import Image, ImageChops, ImageDraw, ImageFilter

FOLDER = REPOSITORY / "workflows" / "input"
SIZE = (768, 1024)
SMOOTH = 3  # drawn this much larger, then reduced

Point = tuple[float, float]

# Half of each outline in units of the picture's width, from the middle of the neck; the other half mirrors it.
SHIRT = ((0.11, 0.13), (0.20, 0.15), (0.34, 0.22), (0.45, 0.48), (0.33, 0.54), (0.265, 0.40), (0.28, 1.12), (0, 1.13))
SHIRT_NECK = 0.19
TROUSERS = ((0.19, 0.08), (0.20, 0.20), (0.25, 0.60), (0.24, 1.25), (0.06, 1.25), (0.02, 0.45))


def striped_shirt() -> Image.Image:
    """Return a navy shirt with cream stripes and a round emblem, lying on light grey."""
    cloth = Image.new("RGB", _large(SIZE), "#1f3a5f")
    draw = ImageDraw.Draw(cloth)
    width, height = cloth.size
    for row in range(0, height, height // 14):
        draw.rectangle((0, row, width, row + height // 40), fill="#f3e9d2")
    _emblem(draw, (0.5 * width, 0.46 * width), 0.085 * width)
    outline = [*_mirrored(SHIRT), *_arc((0.5, 0.13), 0.11, SHIRT_NECK - 0.13)]
    return _garment(cloth, outline)


def checked_trousers() -> Image.Image:
    """Return ochre trousers with a brown check, lying on light grey."""
    cloth = Image.new("RGB", _large(SIZE), "#c8973f")
    draw = ImageDraw.Draw(cloth)
    width, height = cloth.size
    for i in range(0, height, width // 12):
        draw.line((0, i, width, i), fill="#6b4423", width=width // 90)
        draw.line((i, 0, i, height), fill="#6b4423", width=width // 90)
    return _garment(cloth, _mirrored(TROUSERS))


def _emblem(draw: ImageDraw.ImageDraw, centre: Point, radius: float) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#d1495b", outline="#f3e9d2", width=12)
    star = [
        (x + r * math.sin(i * math.pi / 5), y - r * math.cos(i * math.pi / 5))
        for i, r in enumerate([0.75 * radius, 0.32 * radius] * 5)
    ]
    draw.polygon(star, fill="#edae49")


def _garment(cloth: Image.Image, outline: list[Point]) -> Image.Image:
    """Cut ``cloth`` along ``outline``, shade it like fabric and lay it on paper with a soft shadow."""
    scale = cloth.width
    shape = Image.new("L", cloth.size)
    ImageDraw.Draw(shape).polygon([(x * scale, y * scale) for x, y in outline], fill=255)
    inner = shape.filter(ImageFilter.GaussianBlur(0.03 * scale)).point([130 + value // 2 for value in range(256)])
    shaded = ImageChops.multiply(cloth, Image.merge("RGB", [inner] * 3))
    paper = Image.new("RGB", cloth.size, "#e9e9e6")
    shadow = ImageChops.offset(shape.filter(ImageFilter.GaussianBlur(0.02 * scale)), 0, round(0.012 * scale))
    paper.paste("#b9b9b4", mask=shadow)
    paper.paste(shaded, mask=shape)
    return paper.resize(SIZE, Image.Resampling.LANCZOS)


def _mirrored(half: tuple[Point, ...]) -> list[Point]:
    return [(0.5 + x, y) for x, y in half] + [(0.5 - x, y) for x, y in reversed(half)]


def _arc(centre: Point, width: float, depth: float) -> list[Point]:
    """Return the lower half of an ellipse from left to right."""
    x, y = centre
    angles = [math.pi - i * math.pi / 24 for i in range(25)]
    return [(x + width * math.cos(angle), y + depth * math.sin(angle)) for angle in angles]


def _large(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] * SMOOTH, size[1] * SMOOTH


PICTURES = {"imagdressing_shirt.png": striped_shirt, "imagdressing_trousers.png": checked_trousers}


def draw_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().save(folder / name, optimize=True)


if __name__ == "__main__":
    draw_pictures(FOLDER)
