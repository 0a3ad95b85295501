"""A pose as OpenPose draws it, the drawing on which ControlNet OpenPose was trained."""

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw

# OpenPose's 18 points: nose, neck, then shoulder, elbow, wrist right and left, hip, knee, ankle right and left, eyes,
# ears. Its limbs stand in the order of their colours. Source: ControlNet's annotator/openpose/util.py.
POINTS = 18
LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0))
LIMBS += ((0, 14), (14, 16), (0, 15), (15, 17))
COLOURS = tuple(tuple(round(255 * one) for one in colorsys.hsv_to_rgb(i / POINTS, 1, 1)) for i in range(POINTS))
LIMB_BRIGHTNESS = 0.6
LIMB_WIDTH, POINT_RADIUS = 8 / 512, 4 / 512  # of the shorter side

Point = tuple[float, float]


def draw_poses(poses: Sequence[Sequence[Point | None]], width: int, height: int) -> Image.Image:
    """Return an RGB image of poses on black.

    Args:
        poses: For each person 18 points as (x, y) in pixels; None is a point that was not found.
        width: Of the image.
        height: Of the image.
    """
    image, side = Image.new("RGB", (width, height)), min(width, height)
    draw, radius = ImageDraw.Draw(image), POINT_RADIUS * side
    for points in poses:
        for (first, second), colour in zip(LIMBS, COLOURS, strict=False):
            start, end = points[first], points[second]
            if start is not None and end is not None:
                dark = tuple(round(LIMB_BRIGHTNESS * one) for one in colour)
                draw.line((*start, *end), dark, max(1, round(LIMB_WIDTH * side)))
        for point, colour in zip(points, COLOURS, strict=True):
            if point is not None:
                x, y = point
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return image
