"""Drawn figures in textured garments: all that the learning experiment sees, and what it is measured against."""

import colorsys
import random
from dataclasses import dataclass

import numpy
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

WIDTH, HEIGHT = 24, 32
PATTERNS = ("plain", "stripes across", "stripes down", "checks")
PERIOD = 4
PLACES = {"left": -4, "middle": 0, "right": 4}
ARMS = ("arms down", "arms up")
POSES = tuple((place, arms) for place in PLACES for arms in ARMS)
TORSO_WIDTH, TORSO_HEIGHT, TORSO_TOP = 12, 12, 10  # on the grid of the latents, as the cloth's pattern is
LATENT_SIDE = 2  # pixels
LATENT_CHANNELS = 3
LATENT_MEAN, LATENT_STD = 0.44, 0.88  # of pixels −1 … 1; latents of figures then spread by a half

Colour = tuple[int, int, int]
Pose = tuple[str, str]


@dataclass(frozen=True)
class GarmentDesign:
    """What a garment looks like: two colours and how they alternate."""

    light: Colour
    dark: Colour
    pattern: str


def design(seed: int) -> GarmentDesign:
    """Return garment number ``seed``: any hue, another one for the second colour."""
    draw = random.Random(seed)
    hue = draw.random()
    other = (hue + draw.uniform(0.25, 0.75)) % 1
    return GarmentDesign(_colour(hue, 0.55, 0.95), _colour(other, 0.9, 0.55), draw.choice(PATTERNS))


def caption(pose: Pose) -> str:
    return ", ".join(pose)


def draw_garment(garment: GarmentDesign) -> Image.Image:
    """Return the garment laid flat on white, larger than it is worn."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    shape = Image.new("L", picture.size)
    pen = ImageDraw.Draw(shape)
    pen.rectangle((4, 6, 19, 27), fill=255)
    pen.polygon(((4, 6), (0, 12), (2, 15), (5, 12)), fill=255)
    pen.polygon(((19, 6), (23, 12), (21, 15), (18, 12)), fill=255)
    picture.paste(_texture(garment, 0, 0), mask=shape)
    return picture


def draw_figure(pose: Pose, garment: GarmentDesign) -> Image.Image:
    """Return a figure in ``pose`` that wears ``garment``."""
    centre = WIDTH // 2 + PLACES[pose[0]]
    picture = Image.new("RGB", (WIDTH, HEIGHT), (205, 210, 215))
    pen = ImageDraw.Draw(picture)
    skin, trousers = (224, 172, 138), (48, 50, 70)
    pen.ellipse((centre - 3, 3, centre + 2, 9), fill=skin)
    pen.rectangle((centre - 5, 22, centre - 3, 31), fill=trousers)
    pen.rectangle((centre + 2, 22, centre + 4, 31), fill=trousers)
    hands = (2, 11) if pose[1] == "arms up" else (11, 20)
    for left in (centre - 8, centre + 6):
        pen.rectangle((left, hands[0], left + 1, hands[1]), fill=skin)
    picture.paste(_texture(garment, centre - TORSO_WIDTH // 2, TORSO_TOP), mask=torso(pose))
    return picture


def torso(pose: Pose) -> Image.Image:
    """Return where the figure wears its garment, white on black."""
    left = WIDTH // 2 + PLACES[pose[0]] - TORSO_WIDTH // 2
    mask = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(mask).rectangle((left, TORSO_TOP, left + TORSO_WIDTH - 1, TORSO_TOP + TORSO_HEIGHT - 1), fill=255)
    return mask


def latents(pictures: list[Image.Image]) -> Tensor:
    """Return pictures as latents, (batch, 3, 16, 12): in place of a VAE's, the mean colour of each 2 × 2 pixels."""
    pixels = torch.stack([torch.from_numpy(numpy.array(picture)) for picture in pictures]).movedim(-1, 1)
    return avg_pool2d((pixels / 127.5 - 1 - LATENT_MEAN) / LATENT_STD, LATENT_SIDE)


def pictures(latents: Tensor) -> list[Image.Image]:
    """Return pictures that have these latents."""
    pixels = ((interpolate(latents, scale_factor=LATENT_SIDE) * LATENT_STD + LATENT_MEAN).clamp(-1, 1) + 1) * 127.5
    return [Image.fromarray(one) for one in pixels.round().to(torch.uint8).movedim(1, -1).numpy()]


def _texture(garment: GarmentDesign, left: int, top: int) -> Image.Image:
    """Return the garment's cloth, its pattern starting at (left, top)."""
    y, x = numpy.mgrid[:HEIGHT, :WIDTH]
    across, down = ((y - top) // (PERIOD // 2)) % 2, ((x - left) // (PERIOD // 2)) % 2
    dark = {"plain": across * 0, "stripes across": across, "stripes down": down, "checks": across ^ down}
    pixels = numpy.where(dark[garment.pattern][..., None], garment.dark, garment.light)
    return Image.fromarray(pixels.astype(numpy.uint8))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
