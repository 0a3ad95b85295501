"""CAMI, the paper's metric of a worn garment: one function for each of its terms.

Equation 1: S_CAMI-U = S_s + S_t + S_k. Equation 2: S_CAMI-S = S_CAMI-U + S_p + S_f + S_c. The paper gives no formula
for the terms; they are those of the official ``metric/eval.py`` and ``metric/eval_s.py``. S_f and S_c are in
:mod:`.face` and :mod:`.clip_text`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from ..errors import packages
from .images import ImageArray, Mask, checked_mask, cut_to_box
from .outcome import NoScore, Outcome, attempt, checked
from .paper import PROTOCOLS, CamiProtocol

with packages("CAMI"):
    import cv2
    from scipy.spatial import KDTree
    from skimage.feature import local_binary_pattern
    from skimage.metrics import structural_similarity

SSIM_WINDOW = 7  # scikit-image's default, which the official code uses
LBP_NEIGHBOURS, LBP_RADIUS, LBP_CODES = 8, 1.0, 256
PUBLISHED_LBP_EDGES = numpy.arange(LBP_NEIGHBOURS**2 + 1)
HARRIS = {"blockSize": 2, "ksize": 3, "k": 0.04}
CORNER_THRESHOLD = 0.01  # of the largest response
PUBLISHED_MOST_CORNERS = 5000
PUBLISHED_NO_MATCH = 0.99
PUBLISHED_DIAGONAL = 512 * math.sqrt(2)
COMPARED_HEIGHT = 192  # pixels of the garments' boxes, about half of a usual box, so that every method's is reduced
# Pixels from a mask's edge that texture and corners leave out: they would see the edge and not the cloth.
EDGE = 2


@dataclass(frozen=True)
class Comparison:
    """A garment's photograph and a generated image of somebody who wears it, made comparable.

    Attributes:
        garment: The photograph at the size of ``generated``, black outside its mask.
        generated: The generated image, black outside its mask.
        photograph: The photograph at its own size.
    """

    garment: ImageArray
    generated: ImageArray
    garment_mask: Mask
    generated_mask: Mask
    photograph: ImageArray
    protocol: CamiProtocol


def compare(
    garment: ImageArray,
    generated: ImageArray,
    garment_mask: Mask | None = None,
    generated_mask: Mask | None = None,
    protocol: CamiProtocol = PROTOCOLS["corrected"],
) -> Comparison:
    """Make a garment's photograph and a generated image comparable by giving them one size.

    Without a mask the whole image counts. The official code does not mask the photograph.

    Raises:
        NoScore: a mask is empty or of another size than its image, or the garment is too small to be compared.
    """
    garment_mask = checked_mask(garment, garment_mask, "garment")
    generated_mask = checked_mask(generated, generated_mask, "generated image")
    photograph = garment
    if protocol.garments_aligned:
        garment, garment_mask = cut_to_box(garment, garment_mask)
        generated, generated_mask = cut_to_box(generated, generated_mask)
        garment = garment * garment_mask[..., None]
    generated = generated * generated_mask[..., None]
    height, width = generated.shape[:2]
    if min(height, width) < SSIM_WINDOW:
        raise NoScore("garment too small", f"it fills {width} × {height} pixels of the generated image")
    if protocol.one_height:
        height, width = COMPARED_HEIGHT, max(SSIM_WINDOW, round(width * COMPARED_HEIGHT / height))
        generated, generated_mask = _resized(generated, generated_mask, width, height, protocol)
    garment, garment_mask = _resized(garment, garment_mask, width, height, protocol)
    return Comparison(
        garment=garment,
        generated=generated,
        garment_mask=garment_mask,
        generated_mask=generated_mask,
        photograph=photograph,
        protocol=protocol,
    )


def cami_u_terms(
    garment: ImageArray,
    generated: ImageArray,
    garment_mask: Mask | None = None,
    generated_mask: Mask | None = None,
    protocol: CamiProtocol = PROTOCOLS["corrected"],
) -> dict[str, Outcome]:
    """Return the terms of S_CAMI-U by name, each a score or the reason why there is none. Their sum is S_CAMI-U."""
    terms = {"structure": structure, "texture": texture, "keypoints": keypoints}
    comparison = attempt(compare, garment, generated, garment_mask, generated_mask, protocol)
    if isinstance(comparison, NoScore):
        return dict.fromkeys(terms, comparison)
    return {name: checked(attempt(term, comparison)) for name, term in terms.items()}


def structure(comparison: Comparison) -> float:
    """Return S_s, -1 … 1: the structural similarity (SSIM) in colour, over the pixels of either garment.

    Source: ``calculate_ssim``, scikit-image's defaults (7 × 7 uniform window), mean over the whole image.
    """
    if not comparison.protocol.garments_aligned:
        return float(numpy.mean(structural_similarity(comparison.garment, comparison.generated, channel_axis=2)))
    similarity = structural_similarity(comparison.garment, comparison.generated, channel_axis=2, full=True)[1]
    return float(numpy.mean(similarity[comparison.garment_mask | comparison.generated_mask]))


def texture(comparison: Comparison) -> float:
    """Return S_t, -1 … 1: the correlation of the histograms of local binary patterns (P = 8, R = 1).

    Source: ``calculate_texture_similarity``, OpenCV's ``HISTCMP_CORREL``.

    Raises:
        NoScore: no pixel falls into the published bins, as in a black image.
    """
    histograms = (
        _texture_histogram(comparison.garment, comparison.garment_mask, comparison.protocol),
        _texture_histogram(comparison.generated, comparison.generated_mask, comparison.protocol),
    )
    return float(cv2.compareHist(*histograms, cv2.HISTCMP_CORREL))


def _texture_histogram(image: ImageArray, mask: Mask, protocol: CamiProtocol) -> NDArray[numpy.float32]:
    codes = local_binary_pattern(_grey(image), LBP_NEIGHBOURS, LBP_RADIUS)
    if protocol.garments_aligned:
        codes = codes[_interior(mask)]
    edges = numpy.arange(LBP_CODES + 1) if protocol.all_texture_codes else PUBLISHED_LBP_EDGES
    counts, _ = numpy.histogram(codes, bins=edges)
    if not counts.any():
        raise NoScore("no texture in the published bins", "every pixel has a code over 64, as in a black image")
    return (counts / counts.sum()).astype(numpy.float32)


def keypoints(comparison: Comparison) -> float:
    """Return S_k, 0 … 1: one less the distance between the Harris corners of both.

    Source: ``extract_clothing_keypoints`` and ``calculate_keypoint_matching``.

    Raises:
        NoScore: in published mode, the garment has no corner (the official code crashes).
    """
    protocol = comparison.protocol
    garment = comparison.garment if protocol.corners_at_one_scale else comparison.photograph
    garment_mask = comparison.garment_mask if protocol.corners_at_one_scale else None
    diagonal = math.hypot(*comparison.generated.shape[:2]) if protocol.own_diagonal else PUBLISHED_DIAGONAL
    return 1 - corner_distance(
        corners(garment, garment_mask, protocol),
        corners(comparison.generated, comparison.generated_mask, protocol),
        diagonal,
        protocol,
    )


def corners(image: ImageArray, mask: Mask | None, protocol: CamiProtocol) -> NDArray[numpy.int64]:
    """Return the Harris corners of an RGB image as (corners, 2), row and column."""
    response = cv2.cornerHarris(_grey(image).astype(numpy.float32), **HARRIS)
    if mask is not None and protocol.garments_aligned:
        response[~_interior(mask)] = 0
    dilated = cv2.dilate(response, numpy.ones((3, 3), numpy.uint8))
    threshold = CORNER_THRESHOLD * dilated.max()
    if protocol.corners_once:
        return numpy.argwhere((response == dilated) & (response > threshold))
    return numpy.argwhere(dilated > threshold)


def corner_distance(
    garment: NDArray[numpy.int64], generated: NDArray[numpy.int64], diagonal: float, protocol: CamiProtocol
) -> float:
    """Return the mean distance from each corner (corners, 2) to the nearest corner of the other image, in diagonals."""
    if protocol.any_number_of_corners:
        if not len(garment) or not len(generated):
            return 0.0 if len(garment) == len(generated) else 1.0
    elif not len(generated) or len(generated) > PUBLISHED_MOST_CORNERS:
        return PUBLISHED_NO_MATCH
    elif not len(garment):
        raise NoScore("no corner on the garment", "the official code crashes here")
    distance = mean_nearest(garment, generated)
    if protocol.corners_both_ways:
        distance = (distance + mean_nearest(generated, garment)) / 2
    return distance / diagonal


def mean_nearest(points: NDArray[numpy.int64], others: NDArray[numpy.int64]) -> float:
    """Return the mean distance from each of ``points`` to the nearest of ``others``, both (corners, 2).

    A KD-tree finds it in n log n; the official code makes the full matrix of distances.
    """
    return float(KDTree(others).query(points)[0].mean())


def pose(asked: ImageArray, generated: ImageArray, protocol: CamiProtocol = PROTOCOLS["corrected"]) -> float:
    """Return S_p, 0 … 1: the part of the pose that was asked for which the generated image shows too.

    Args:
        asked: A drawing on black of the pose that was asked for.
        generated: A drawing on black of the pose in the generated image, by the same detector.
        protocol: How the official code is corrected.

    Source: ``calculate_openpose_distance``.

    Raises:
        NoScore: nothing is drawn in the pose that was asked for, or, corrected, in the generated one.
    """
    height, width = asked.shape[:2]
    resized = _uint8(cv2.resize(generated, (width, height)))
    if protocol.pose_without_overflow:
        drawn, redrawn = asked.any(axis=2), resized.any(axis=2)
        both = drawn & redrawn
    else:
        drawn, redrawn = (image.sum(axis=2, dtype=numpy.uint8) for image in (asked, resized))
        both = drawn * redrawn
    if not drawn.any():
        raise NoScore("no pose asked for", "its drawing is black")
    if protocol.pose_found and not redrawn.any():
        raise NoScore("no pose in the generated image", "its drawing is black")
    return float(numpy.count_nonzero(both) / numpy.count_nonzero(drawn))


def _resized(image: ImageArray, mask: Mask, width: int, height: int, protocol: CamiProtocol) -> tuple[ImageArray, Mask]:
    if image.shape[:2] == (height, width):
        return image, mask
    smooth = protocol.resized_by_area and image.shape[0] * image.shape[1] > height * width
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smooth else cv2.INTER_LINEAR)
    nearest = cv2.resize(mask.astype(numpy.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return _uint8(resized), nearest > 0


def _interior(mask: Mask) -> Mask:
    """Return the mask without the pixels near its edge; the image's own border is no edge."""
    window = numpy.ones((2 * EDGE + 1, 2 * EDGE + 1), numpy.uint8)
    inside = cv2.erode(mask.astype(numpy.uint8), window) > 0
    if not inside.any():
        raise NoScore("garment too small", f"no part of it is more than {2 * EDGE} pixels wide")
    return inside


def _grey(image: ImageArray) -> ImageArray:
    return _uint8(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _uint8(array: object) -> ImageArray:
    """Say to the type checker what OpenCV returned."""
    return numpy.asarray(array, numpy.uint8)
