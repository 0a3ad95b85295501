"""CAMI-U as the official code computes it, one line after the other: the tests' oracle and the benchmark's rival.

On the libraries' own calls and with the full matrix of distances; nothing of ``imagdressing_core`` is used. Run
``python tests/support/straightforward_cami.py GARMENT PICTURE [MASK]`` for the three terms of one pair.
"""

import sys
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern
from skimage.metrics import structural_similarity

Pixels = Any  # (height, width, 3), BGR in uint8, as OpenCV reads it


def cami_u(garment: Pixels, cut_out: Pixels) -> tuple[float, float, float]:
    """Return structure, texture and keypoints; ``cut_out`` is the generated image, black outside the garment."""
    height, width = cut_out.shape[:2]
    resized = cv2.resize(garment, (width, height))
    similarity: Any = structural_similarity(resized, cut_out, channel_axis=2)
    correlation = cv2.compareHist(histogram(resized), histogram(cut_out), cv2.HISTCMP_CORREL)
    return float(similarity), correlation, 1 - distance(corners(garment), corners(cut_out))


def read_cut_out(image: str, mask: str | None = None) -> Pixels:
    """Return a generated image from its file, black where its mask is."""
    pixels: Any = cv2.imread(image)
    return pixels if mask is None else pixels * numpy.uint8(numpy.asarray(cv2.imread(mask)) > 127)


def histogram(image: Pixels) -> NDArray[numpy.float32]:
    codes = local_binary_pattern(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 8, 1.0)
    return numpy.histogram(codes, bins=range(65), density=True)[0].astype(numpy.float32)


def corners(image: Pixels) -> NDArray[numpy.int64]:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(numpy.float32)
    response = cv2.dilate(cv2.cornerHarris(grey, 2, 3, 0.04), numpy.ones((3, 3)))
    return numpy.argwhere(response > 0.01 * response.max())


def distance(points: NDArray[numpy.int64], others: NDArray[numpy.int64]) -> float:
    if not 0 < len(others) <= 5000:
        return 0.99
    return float(nearest(points, others).mean() / (512 * 2**0.5))


def nearest(points: NDArray[numpy.int64], others: NDArray[numpy.int64]) -> NDArray[numpy.float64]:
    """Return the distance of each point to the nearest other one, by way of all distances at once."""
    return numpy.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1)


if __name__ == "__main__":
    print(*cami_u(cv2.imread(sys.argv[1]), read_cut_out(*sys.argv[2:])))
