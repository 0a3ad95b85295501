"""The drawn world: people who wear shirts and trousers in scenes that a prompt names.

Lengths are in units of the image's width, as in ``drawing``.
"""

import random
from dataclasses import dataclass, replace
from itertools import pairwise

from PIL import Image

from imagdressing_core.images.openpose import LIMBS

from .drawing import (
    ASPECT,
    BLACK,
    KINDS,
    WHITE,
    Cloth,
    Colour,
    Pen,
    Point,
    along,
    between,
    draw_cloth,
    hsv,
    limb,
    mirrored,
)

SUBJECTS = ("woman", "man")
HAIR = {"black": (38, 34, 36), "brown": (104, 66, 40), "blonde": (232, 196, 112), "red": (176, 74, 38)}
SCENES = ("park", "street", "beach", "studio")
POSES = ("standing", "waving", "cheering", "posing")
SKIN = ((247, 214, 190), (232, 184, 148), (200, 146, 108), (150, 100, 70), (104, 68, 48))
EYES, MOUTH, SHOES = (40, 34, 36), (176, 72, 72), (58, 48, 46)


@dataclass(frozen=True)
class Person:
    """One image of the world. arms, legs: angles in degrees from straight down, outwards, right ones first.

    centre: of the figure, in units of the width. size: 1 on average. seed: of what the scene is furnished with.
    """

    subject: str
    hair: str
    scene: str
    pose: str
    skin: Colour
    shirt: Cloth
    trousers: Cloth
    centre: float
    size: float
    arms: tuple[Point, Point]
    legs: Point
    seed: int


def draw_person(draw: random.Random, shirt: Cloth | None = None, trousers: Cloth | None = None) -> Person:
    """Return somebody somewhere, in the garments given or in any."""
    pose = draw.choice(POSES)
    arms = (_arm(draw, pose), _arm(draw, pose))
    if pose == "waving":
        arms = (arms[0], _arm(draw, "standing")) if draw.random() < 0.5 else (_arm(draw, "standing"), arms[1])
    return Person(
        subject=draw.choice(SUBJECTS),
        hair=draw.choice(tuple(HAIR)),
        scene=draw.choice(SCENES),
        pose=pose,
        skin=draw.choice(SKIN),
        shirt=shirt or draw_cloth(draw, "shirt"),
        trousers=trousers or draw_cloth(draw, "trousers"),
        centre=draw.uniform(0.42, 0.58),
        size=draw.uniform(0.94, 1.04),
        arms=arms,
        legs=(draw.uniform(2, 9), draw.uniform(2, 9)),
        seed=draw.randrange(2**30),
    )


def in_clothes(person: Person, **clothes: Cloth) -> Person:
    """Return the same person in another ``shirt``, other ``trousers``, or both."""
    return replace(person, **clothes)


def words(person: Person) -> tuple[str, ...]:
    """Return the words that a prompt can say of an image; a garment is never one of them."""
    return person.subject, person.hair, person.pose, person.scene


def caption(person: Person) -> str:
    subject, hair, pose, scene = words(person)
    return f"a {subject} with {hair} hair, {pose}, {scene}"


def image(person: Person, width: int) -> Image.Image:
    """Return the whole image, ``width`` × 1.25 ``width`` pixels."""
    pen = Pen.new(width)
    draw_scene(pen, person.scene, random.Random(person.seed))
    _draw_figure(pen, person)
    return pen.finished()


def mask(person: Person, kind: str, width: int) -> Image.Image:
    """Return where the person's shirt or trousers are seen, white on black."""
    pen = Pen.new(width, BLACK)
    body = Body(person)
    for one in KINDS[::-1]:  # a shirt hangs over the trousers
        for part in body.shirt() if one == "shirt" else body.trousers():
            pen.polygon(part, WHITE if one == kind else BLACK)
    return pen.finished().convert("L")


def pose_image(person: Person, width: int) -> Image.Image:
    """Return the skeleton in OpenPose's colours, as ControlNet OpenPose was trained on."""
    pen, points = Pen.new(width, BLACK), Body(person).keypoints()
    for i, (start, end) in enumerate(LIMBS):
        pen.line((points[start], points[end]), 0.016, hsv(i / 18, 1.0, 0.6))
    for i, point in enumerate(points):
        pen.disc(point, 0.008, hsv(i / 18, 1.0, 1.0))
    return pen.finished()


WORN_TORSO = ((0.0, -0.85), (0.05, -0.88), (0.155, -0.85), (0.15, -0.72), (0.14, -0.6), (0.155, -0.43), (0.0, -0.42))
WORN_HIPS = ((0.0, -0.5), (0.14, -0.5), (0.15, -0.36), (0.0, -0.33))
UPPER_ARM, FOREARM, SLEEVE, ARM, LEG = 0.19, 0.18, 0.1, 0.064, 0.115
GROUND = 1.2


class Body:
    """Where the parts of a person are in the image."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.origin = (person.centre, GROUND)

    def at(self, x: float, y: float) -> Point:
        return self.origin[0] + x * self.person.size, self.origin[1] + y * self.person.size

    def arm(self, side: int) -> tuple[Point, Point, Point]:
        """Return shoulder, elbow, wrist. side: 0 for the image's left."""
        sign, (upper, fore) = (-1, 1)[side], self.person.arms[side]
        shoulder = (sign * 0.135, -0.815)
        elbow = along(shoulder, sign * upper, UPPER_ARM)
        return self.at(*shoulder), self.at(*elbow), self.at(*along(elbow, sign * fore, FOREARM))

    def leg(self, side: int) -> tuple[Point, Point, Point]:
        sign, angle = (-1, 1)[side], self.person.legs[side]
        hip = (sign * 0.077, -0.44)
        knee, ankle = (along(hip, sign * angle, length) for length in (0.2, 0.4))
        return self.at(*hip), self.at(*knee), self.at(*ankle)

    def shirt(self) -> list[list[Point]]:
        """Return the parts of the shirt as outlines."""
        parts = [mirrored(WORN_TORSO, self.origin, self.person.size)]
        for side in (0, 1):
            shoulder, elbow, _ = self.arm(side)
            parts.append(limb(shoulder, between(shoulder, elbow, 0.78), SLEEVE * self.person.size, round_start=True))
        return parts

    def trousers(self) -> list[list[Point]]:
        parts = [mirrored(WORN_HIPS, self.origin, self.person.size)]
        return parts + [limb(self.leg(side)[0], self.leg(side)[2], LEG * self.person.size) for side in (0, 1)]

    def keypoints(self) -> list[Point]:
        right, left = self.arm(0), self.arm(1)
        face = [self.at(x, y) for x, y in ((-0.03, -1.015), (0.03, -1.015), (-0.075, -1.0), (0.075, -1.0))]
        return [self.at(0, -0.99), self.at(0, -0.84), *right, *left, *self.leg(0), *self.leg(1), *face]


def _draw_figure(pen: Pen, person: Person) -> None:
    body, size, hair = Body(person), person.size, HAIR[person.hair]
    long = person.subject == "woman"
    if long:
        pen.polygon([body.at(x, y) for x, y in ((-0.1, -1.0), (0.1, -1.0), (0.125, -0.78), (-0.125, -0.78))], hair)
    pen.disc(body.at(0, -1.015), 0.102 * size, hair, 0.118 * size)
    for side in (0, 1):
        ankle = body.leg(side)[2]
        pen.disc((ankle[0] + (-1, 1)[side] * 0.012, ankle[1] + 0.018), 0.062 * size, SHOES, 0.03 * size)
    pen.cloth(person.trousers, body.trousers(), body.at(0, -0.5), size)
    for side in (0, 1):
        pen.line(body.arm(side), ARM * size, person.skin)
        pen.disc(body.arm(side)[2], 0.042 * size, person.skin)
    pen.line((body.at(0, -0.95), body.at(0, -0.85)), 0.075 * size, person.skin)
    pen.cloth(person.shirt, body.shirt(), body.at(0, -0.88), size)
    pen.disc(body.at(0, -0.855), 0.05 * size, person.skin, 0.032 * size)
    _draw_face(pen, body, person, hair)


def _draw_face(pen: Pen, body: Body, person: Person, hair: Colour) -> None:
    size = person.size
    pen.disc(body.at(0, -0.985), 0.08 * size, person.skin, 0.096 * size)
    if person.subject == "woman":  # a parting, or a fringe
        for x in (-0.045, 0.045):
            pen.disc(body.at(x, -1.07), 0.062 * size, hair, 0.042 * size)
    else:
        pen.disc(body.at(0, -1.075), 0.085 * size, hair, 0.04 * size)
    for x in (-0.03, 0.03):
        pen.disc(body.at(x, -0.995), 0.0105 * size, EYES, 0.013 * size)
    pen.disc(body.at(0, -0.935), 0.027 * size, MOUTH, 0.011 * size)


def draw_scene(pen: Pen, scene: str, draw: random.Random) -> None:
    """Furnish the whole canvas."""
    {"park": _park, "street": _street, "beach": _beach, "studio": _studio}[scene](pen, draw)


def _park(pen: Pen, draw: random.Random) -> None:
    horizon = draw.uniform(0.76, 0.84)
    pen.box(0, 0, 1, ASPECT, _near(draw, (176, 220, 242)))
    for x in (draw.uniform(-0.05, 0.2), draw.uniform(0.8, 1.05)):
        pen.box(x - 0.03, 0.3, x + 0.03, horizon + 0.03, _near(draw, (120, 84, 56)))
        crown, y = _near(draw, (58, 128, 66)), draw.uniform(0.25, 0.4)
        for dx, dy, radius in ((-0.08, 0.06, 0.13), (0.08, 0.06, 0.13), (0, -0.05, 0.15)):
            pen.disc((x + dx, y + dy), radius, crown)
    pen.box(0, horizon, 1, ASPECT, _near(draw, (122, 182, 84)))


def _street(pen: Pen, draw: random.Random) -> None:
    pavement = draw.uniform(0.84, 0.9)
    pen.box(0, 0, 1, ASPECT, _near(draw, (206, 214, 222)))
    edges = [0.0, draw.uniform(0.28, 0.4), draw.uniform(0.6, 0.72), 1.0]
    for left, right in pairwise(edges):
        top, wall = (
            draw.uniform(0.0, 0.16),
            _near(draw, draw.choice(((190, 120, 96), (172, 160, 148), (206, 178, 132)))),
        )
        pen.box(left, top, right, pavement, wall)
        for row in range(4):
            for column in (0.25, 0.75):
                x, y = left + column * (right - left), top + 0.08 + 0.19 * row
                pen.box(x - 0.045, y, x + 0.045, y + 0.1, (92, 108, 128))
    pen.box(0, pavement, 1, ASPECT, _near(draw, (150, 150, 152)))
    pen.box(0, 1.13, 1, ASPECT, _near(draw, (88, 90, 96)))


def _beach(pen: Pen, draw: random.Random) -> None:
    horizon, shore = draw.uniform(0.5, 0.58), draw.uniform(0.78, 0.86)
    pen.box(0, 0, 1, ASPECT, _near(draw, (150, 212, 244)))
    pen.disc(
        (draw.choice((draw.uniform(0.08, 0.25), draw.uniform(0.75, 0.92))), draw.uniform(0.12, 0.2)),
        0.075,
        (255, 226, 120),
    )
    pen.box(0, horizon, 1, ASPECT, _near(draw, (36, 128, 184)))
    pen.box(0, shore - 0.025, 1, ASPECT, (236, 246, 248))
    pen.box(0, shore, 1, ASPECT, _near(draw, (236, 208, 148)))


def _studio(pen: Pen, draw: random.Random) -> None:
    ground = _near(draw, draw.choice(((222, 216, 208), (200, 204, 210), (214, 200, 204))))
    pen.box(0, 0, 1, ASPECT, ground)
    red, green, blue = (round(0.86 * v) for v in ground)
    pen.box(0, draw.uniform(0.96, 1.02), 1, ASPECT, (red, green, blue))


def _near(draw: random.Random, colour: Colour, by: int = 10) -> Colour:
    red, green, blue = (min(255, max(0, v + draw.randint(-by, by))) for v in colour)
    return red, green, blue


def _arm(draw: random.Random, pose: str) -> Point:
    """Return the angles of upper arm and forearm."""
    ranges = {
        "standing": ((10, 24), (2, 20)),
        "waving": ((95, 125), (150, 190)),
        "cheering": ((120, 150), (160, 200)),
        "posing": ((42, 56), (-62, -46)),
    }
    upper, fore = ranges[pose]
    return draw.uniform(*upper), draw.uniform(*fore)
