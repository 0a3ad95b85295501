"""The pictures that the shipped workflows start from, drawn here so that they are free of anyone's rights.

Run as a script it draws them into ``workflows/input``.
"""

import colorsys
import math
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter
from support.comfyui_release import REPOSITORY

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
    cloth = striped_cloth(_large(SIZE))
    width = cloth.width
    emblem(ImageDraw.Draw(cloth), (0.5 * width, 0.46 * width), 0.085 * width)
    outline = [*_mirrored(SHIRT), *_arc((0.5, 0.13), 0.11, SHIRT_NECK - 0.13)]
    return _garment(cloth, outline)


def checked_trousers() -> Image.Image:
    """Return ochre trousers with a brown check, lying on light grey."""
    return _garment(checked_cloth(_large(SIZE)), _mirrored(TROUSERS))


def striped_cloth(size: tuple[int, int]) -> Image.Image:
    cloth = Image.new("RGB", size, "#1f3a5f")
    width, height = size
    for row in range(0, height, height // 14):
        ImageDraw.Draw(cloth).rectangle((0, row, width, row + height // 40), fill="#f3e9d2")
    return cloth


def checked_cloth(size: tuple[int, int]) -> Image.Image:
    cloth = Image.new("RGB", size, "#c8973f")
    draw = ImageDraw.Draw(cloth)
    width, height = size
    for i in range(0, height, width // 12):
        draw.line((0, i, width, i), fill="#6b4423", width=width // 90)
        draw.line((i, 0, i, height), fill="#6b4423", width=width // 90)
    return cloth


def emblem(draw: ImageDraw.ImageDraw, centre: Point, radius: float) -> None:
    x, y = centre
    draw.ellipse(
        (x - radius, y - radius, x + radius, y + radius), fill="#d1495b", outline="#f3e9d2", width=round(0.06 * radius)
    )
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


# A figure standing in the picture of 512 × 640: OpenPose's 18 points (COCO order), in pixels.
POSE: tuple[Point, ...] = (
    *((256, 110), (256, 170), (205, 172), (182, 250), (172, 325), (307, 172), (330, 250), (340, 325), (228, 330)),
    *((222, 445), (218, 560), (284, 330), (290, 445), (294, 560), (246, 100), (266, 100), (232, 108), (280, 108)),
)
LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0))
LIMBS += ((0, 14), (14, 16), (0, 15), (15, 17))
FIGURE_SIZE = (512, 640)
SKIN, HAIR, TOP, LEGS = "#d9a58a", "#4a3426", "#9aa7ad", "#55606b"


def pose() -> Image.Image:
    """Return the figure's skeleton in OpenPose's colours, as ControlNet OpenPose was trained on."""
    picture = Image.new("RGB", FIGURE_SIZE)
    draw = ImageDraw.Draw(picture)
    for i, (start, end) in enumerate(LIMBS):
        draw.line((*POSE[start], *POSE[end]), fill=_hue(i, 0.6), width=8)
    for i, (x, y) in enumerate(POSE):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_hue(i, 1.0))
    return picture


def person() -> Image.Image:
    """Return the figure in a plain grey top, in front of a wall; what may be dressed anew is transparent."""
    picture = _in_large(_draw_person)
    picture.putalpha(ImageChops.invert(_in_large(_draw_top).convert("1", dither=Image.Dither.NONE).convert("L")))
    return picture


def dressed_person(top: Image.Image | str = TOP, legs: Image.Image | str = LEGS) -> Image.Image:
    """Return the figure in a top and legs of these cloths, pictures of its size, or colours."""
    picture = _in_large(_draw_person)
    for cloth, draw in ((legs, _draw_legs), (top, _draw_top)):
        mask = _in_large(draw).convert("L")
        picture.paste(cloth, (0, 0, *FIGURE_SIZE), mask)
    return picture


def face() -> Image.Image:
    """Return the figure's head, near."""
    return _in_large(_draw_person).crop((181, 40, 331, 190)).resize((512, 512), Image.Resampling.LANCZOS)


def upper_region() -> Image.Image:
    """Return where a top is worn: white down to the waist."""
    return _region(0, 330)


def lower_region() -> Image.Image:
    """Return where trousers are worn: white from the waist down."""
    return _region(330, 640)


def _region(top: int, bottom: int) -> Image.Image:
    region = Image.new("L", FIGURE_SIZE)
    ImageDraw.Draw(region).rectangle((0, top - 16, FIGURE_SIZE[0], bottom + 16), fill=255)
    return region.filter(ImageFilter.GaussianBlur(12)).convert("RGB")


def _hue(number: int, brightness: float) -> tuple[int, ...]:
    red, green, blue = colorsys.hsv_to_rgb(number / 18, 1.0, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def _in_large(draw: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    picture = Image.new("RGB", FIGURE_SIZE)
    large = Image.new("RGB", _large(FIGURE_SIZE))
    draw(ImageDraw.Draw(large))
    picture.paste(large.resize(FIGURE_SIZE, Image.Resampling.LANCZOS))
    return picture


def _draw_person(draw: ImageDraw.ImageDraw) -> None:
    _box(draw, (0, 0, 512, 520), "#dcd6cc")
    _box(draw, (0, 520, 512, 640), "#b9a58c")
    _draw_legs(draw, LEGS)
    for side in ((2, 3, 4), (5, 6, 7)):
        _limb(draw, side, 30, SKIN)
    _ellipse(draw, (208, 48, 304, 168), HAIR)
    _limb(draw, (0, 1), 40, SKIN)
    _ellipse(draw, (218, 62, 294, 158), SKIN)
    for x in (240, 272):
        _ellipse(draw, (x - 5, 98, x + 5, 106), "#2b2b2b")
    _ellipse(draw, (244, 130, 268, 138), "#a85a52")
    _draw_top(draw, TOP)


def _draw_legs(draw: ImageDraw.ImageDraw, colour: str = "white") -> None:
    for side in ((11, 12, 13), (8, 9, 10)):
        _limb(draw, side, 52, colour)


def _draw_top(draw: ImageDraw.ImageDraw, colour: str = "white") -> None:
    torso = ((200, 156), (312, 156), (334, 182), (312, 340), (200, 340), (178, 182))
    draw.polygon([(SMOOTH * x, SMOOTH * y) for x, y in torso], fill=colour)
    for side in ((2, 3), (5, 6)):
        _limb(draw, side, 44, colour)


def _limb(draw: ImageDraw.ImageDraw, points: tuple[int, ...], width: int, colour: str) -> None:
    line = [(SMOOTH * POSE[point][0], SMOOTH * POSE[point][1]) for point in points]
    draw.line(line, fill=colour, width=SMOOTH * width, joint="curve")
    for x, y in line:
        _ellipse(draw, tuple(v / SMOOTH for v in _around(x, y, SMOOTH * width / 2)), colour)


def _around(x: float, y: float, radius: float) -> tuple[float, ...]:
    return x - radius, y - radius, x + radius, y + radius


def _ellipse(draw: ImageDraw.ImageDraw, box: tuple[float, ...], colour: str) -> None:
    draw.ellipse([SMOOTH * side for side in box], fill=colour)


def _box(draw: ImageDraw.ImageDraw, box: tuple[float, ...], colour: str) -> None:
    draw.rectangle([SMOOTH * side for side in box], fill=colour)


PICTURES = {
    "imagdressing_shirt.png": striped_shirt,
    "imagdressing_trousers.png": checked_trousers,
    "imagdressing_pose.png": pose,
    "imagdressing_person.png": person,
    "imagdressing_face.png": face,
    "imagdressing_upper.png": upper_region,
    "imagdressing_lower.png": lower_region,
}


def draw_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().save(folder / name, optimize=True)


if __name__ == "__main__":
    draw_pictures(FOLDER)
