"""How the drawn world is drawn: a pen in units of the image's width, garments and what they are woven of.

An image is 1 wide and 1.25 high; y points down.
"""

import colorsys
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw

ASPECT = 1.25
SMOOTH = 3  # drawn this much larger, then reduced
PATTERNS = ("plain", "stripes", "checks", "dots", "emblem")
KINDS = ("shirt", "trousers")
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Point = tuple[float, float]
Colour = tuple[int, int, int]

# Half an outline from the middle of the neck or the waist; the other half mirrors it.
FLAT_SHIRT = ((0.0, 0.25), (0.05, 0.24), (0.1, 0.2), (0.27, 0.25), (0.46, 0.5), (0.34, 0.58), (0.27, 0.48))
FLAT_SHIRT += ((0.26, 0.7), (0.28, 1.05), (0.0, 1.06))
FLAT_TROUSERS = ((0.0, 0.12), (0.25, 0.12), (0.28, 0.4), (0.25, 1.14), (0.06, 1.14), (0.0, 0.48))
WORN_ACROSS = {"shirt": 0.3, "trousers": 0.29}
PERIOD = 0.115  # of a pattern as it is worn, at size 1


@dataclass(frozen=True)
class Cloth:
    """A garment: what it is and what it is made of.

    colour: most of it. second: stripes, checks, dots or emblem.
    """

    kind: str
    pattern: str
    colour: Colour
    second: Colour


def draw_cloth(draw: random.Random, kind: str, pattern: str | None = None) -> Cloth:
    """Return a garment of any hue, in two colours that can be told apart."""
    hue, light = draw.random(), draw.random() < 0.5
    other = (hue + draw.uniform(0.2, 0.8)) % 1
    pale, deep = (draw.uniform(0.25, 0.6), draw.uniform(0.88, 1.0)), (draw.uniform(0.7, 1.0), draw.uniform(0.35, 0.65))
    first, second = (pale, deep) if light else (deep, pale)
    return Cloth(kind, pattern or draw.choice(PATTERNS), hsv(hue, *first), hsv(other, *second))


def garment_image(cloth: Cloth, width: int) -> Image.Image:
    """Return the garment laid flat on white."""
    pen = Pen.new(width, WHITE)
    outline = FLAT_SHIRT if cloth.kind == "shirt" else FLAT_TROUSERS
    parts = [mirrored(outline, (0.5, 0.0), 1.0)]
    across, top = (0.56, 0.2) if cloth.kind == "shirt" else (0.5, 0.12)
    pen.cloth(cloth, parts, (0.5, top), across / WORN_ACROSS[cloth.kind])
    return pen.finished()


@dataclass(frozen=True)
class Pen:
    """Draws in units of the width on a canvas that is later reduced."""

    canvas: Image.Image
    draw: ImageDraw.ImageDraw

    @classmethod
    def new(cls, width: int, ground: Colour = (0, 0, 0)) -> "Pen":
        canvas = Image.new("RGB", (width * SMOOTH, round(width * ASPECT) * SMOOTH), ground)
        return cls(canvas, ImageDraw.Draw(canvas))

    @property
    def scale(self) -> int:
        return self.canvas.width

    def finished(self) -> Image.Image:
        return self.canvas.reduce(SMOOTH)

    def polygon(self, points: Iterable[Point], fill: Colour) -> None:
        self.draw.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        self.draw.rectangle([self.scale * side for side in (left, top, right, bottom)], fill=fill)

    def disc(self, centre: Point, radius: float, fill: Colour, high: float | None = None) -> None:
        """Fill a disc, or an ellipse of half the height ``high``."""
        (x, y), high = centre, high or radius
        self.draw.ellipse([self.scale * v for v in (x - radius, y - high, x + radius, y + high)], fill=fill)

    def line(self, points: Iterable[Point], width: float, fill: Colour) -> None:
        """Draw limbs, round at the ends and joints."""
        points = list(points)
        for start, end in pairwise(points):
            self.polygon(limb(start, end, width), fill)
        for point in points:
            self.disc(point, width / 2, fill)

    def cloth(self, cloth: Cloth, parts: Iterable[Iterable[Point]], top: Point, size: float) -> None:
        """Fill outlines with a garment's cloth; ``top`` is the middle of its neck or waist, ``size`` 1 as worn."""
        shape = Image.new("L", self.canvas.size)
        pen = ImageDraw.Draw(shape)
        for part in parts:
            pen.polygon([(x * self.scale, y * self.scale) for x, y in part], fill=255)
        box = shape.getbbox() or (0, 0, 1, 1)
        area = tuple(v / self.scale for v in box)
        woven = Pen.new(self.canvas.width // SMOOTH, cloth.colour)
        WEAVES[cloth.pattern](woven, cloth, top, size, area)
        self.canvas.paste(woven.canvas.crop(box), box[:2], shape.crop(box))


def _stripes(pen: Pen, cloth: Cloth, top: Point, size: float, area: tuple[float, ...]) -> None:
    period = PERIOD * size
    for i in _steps(top[1], period, area[1], area[3]):
        pen.box(area[0], top[1] + i * period, area[2], top[1] + (i + 0.5) * period, cloth.second)


def _checks(pen: Pen, cloth: Cloth, top: Point, size: float, area: tuple[float, ...]) -> None:
    half = PERIOD * size / 2
    for row in _steps(top[1], half, area[1], area[3]):
        for column in _steps(top[0], half, area[0], area[2]):
            if (row + column) % 2 == 0:
                x, y = top[0] + column * half, top[1] + row * half
                pen.box(x, y, x + half, y + half, cloth.second)


def _dots(pen: Pen, cloth: Cloth, top: Point, size: float, area: tuple[float, ...]) -> None:
    across, down = PERIOD * size, 0.8 * PERIOD * size
    for row in _steps(top[1], down, area[1], area[3]):
        for column in _steps(top[0], across, area[0], area[2]):
            x = top[0] + (column + 0.5 * (row % 2)) * across
            pen.disc((x, top[1] + (row + 0.5) * down), 0.29 * across, cloth.second)


def _emblem(pen: Pen, cloth: Cloth, top: Point, size: float, area: tuple[float, ...]) -> None:
    x, y = (0.0, 0.16) if cloth.kind == "shirt" else (0.075, 0.19)
    radius = (0.095 if cloth.kind == "shirt" else 0.045) * size
    centre = (top[0] + x * size, top[1] + y * size)
    pen.disc(centre, radius, cloth.second)
    star = [
        (centre[0] + r * radius * math.sin(i * math.pi / 5), centre[1] - r * radius * math.cos(i * math.pi / 5))
        for i, r in enumerate([0.7, 0.3] * 5)
    ]
    pen.polygon(star, cloth.colour)


def _plain(pen: Pen, cloth: Cloth, top: Point, size: float, area: tuple[float, ...]) -> None:
    """Leave the ground as it is."""


Weave = Callable[[Pen, Cloth, Point, float, tuple[float, ...]], None]
WEAVES: dict[str, Weave] = {"plain": _plain, "stripes": _stripes, "checks": _checks, "dots": _dots, "emblem": _emblem}


def along(start: Point, degrees: float, length: float) -> Point:
    angle = math.radians(degrees)
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def limb(start: Point, end: Point, width: float, round_start: bool = False) -> list[Point]:
    """Return a bar from ``start`` to ``end``, on demand with a round first end."""
    across, along = end[0] - start[0], end[1] - start[1]
    half, angle = width / 2, math.atan2(along, across)
    turns = range(90, 271, 15) if round_start else (90, 270)
    cap = [
        (start[0] + half * math.cos(angle + math.radians(t)), start[1] + half * math.sin(angle + math.radians(t)))
        for t in turns
    ]
    side = (half * math.sin(angle), -half * math.cos(angle))
    return [*cap, (end[0] + side[0], end[1] + side[1]), (end[0] - side[0], end[1] - side[1])]


def mirrored(half: Iterable[Point], origin: Point, size: float) -> list[Point]:
    half = list(half)
    return [(origin[0] + size * x, origin[1] + size * y) for x, y in half] + [
        (origin[0] - size * x, origin[1] + size * y) for x, y in reversed(half)
    ]


def _steps(origin: float, period: float, start: float, end: float) -> range:
    return range(math.floor((start - origin) / period) - 1, math.ceil((end - origin) / period) + 1)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
