"""CAMI's terms: each against brute force, published against the official steps, and what must hold of any image."""

import itertools
import math
from dataclasses import fields, replace

import cv2
import numpy
import pytest
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from support import drawn, straightforward_cami
from support.cami_inputs import dressed, noise, number
from support.comfyui_release import REPOSITORY

from imagdressing_core.metrics.cami import (
    COMPARED_HEIGHT,
    cami_u_terms,
    compare,
    corner_distance,
    corners,
    keypoints,
    pose,
    structure,
    texture,
)
from imagdressing_core.metrics.images import read_image
from imagdressing_core.metrics.outcome import NoScore, total
from imagdressing_core.metrics.paper import CAMI_U_TERMS, CORRECTIONS, PROTOCOLS, CamiProtocol, Mode

PUBLISHED, CORRECTED = PROTOCOLS["published"], PROTOCOLS["corrected"]
TERMS = {"structure": structure, "texture": texture, "keypoints": keypoints}

any_image = arrays(numpy.uint8, (20, 24, 3))


# Each term against brute force


def brute_force_ssim(first: numpy.ndarray, second: numpy.ndarray) -> numpy.ndarray:
    """Wang et al. 2004 with a 7 × 7 window of equal weights and sample variances, mirrored beyond the border."""
    padded = (numpy.pad(one.astype(float), ((3, 3), (3, 3), (0, 0)), "symmetric") for one in (first, second))
    x, y = (
        numpy.lib.stride_tricks.sliding_window_view(one, (7, 7), (0, 1)).reshape(*first.shape, 49) for one in padded
    )
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    covariance = ((x - mean_x[..., None]) * (y - mean_y[..., None])).sum(-1) / 48
    variances = x.var(-1, ddof=1) + y.var(-1, ddof=1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))


def at_the_compared_height() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Two images that no mode resizes."""
    size = COMPARED_HEIGHT, 20
    return noise(*size), noise(*size, seed=1) // 2 + noise(*size) // 2


def test_structure_is_ssim_by_its_formula():
    first, second = at_the_compared_height()
    similarity = brute_force_ssim(first, second)
    assert structure(compare(first, second)) == pytest.approx(similarity.mean(), abs=1e-9)
    inner = similarity[3:-3, 3:-3].mean()  # the official call leaves out windows that reach over the border
    assert structure(compare(first, second, protocol=PUBLISHED)) == pytest.approx(inner, abs=1e-9)


def test_structure_counts_the_pixels_of_either_garment():
    pair = dressed()
    either = pair.garment_mask | pair.generated_mask
    expected = brute_force_ssim(pair.garment, pair.generated)[either].mean()
    assert 0 < either.mean() < 1
    assert structure(pair) == pytest.approx(expected, abs=1e-9)


def brute_force_lbp(grey: numpy.ndarray) -> list[int]:
    """Ojala et al. 2002: a bit for each of 8 points on the unit circle that is no darker than the middle; 0 outside."""
    around = numpy.pad(grey.astype(float), 2)
    codes = []
    for row, column in itertools.product(range(len(grey)), range(grey.shape[1])):
        code = 0
        for p in range(8):
            r, c = round(row - math.sin(p * math.pi / 4), 5), round(column + math.cos(p * math.pi / 4), 5)
            top, left = math.floor(r), math.floor(c)
            upper, lower = around[top + 2 : top + 4, left + 2 : left + 4] @ [1 - (c - left), c - left]
            code += int((1 - (r - top)) * upper + (r - top) * lower >= grey[row, column]) << p
        codes.append(code)
    return codes


@pytest.mark.parametrize("mode", PROTOCOLS)
def test_texture_is_the_correlation_of_local_binary_patterns(mode: Mode):
    first, second = at_the_compared_height()
    histograms = []
    for one in (first, second):
        counts = numpy.bincount(brute_force_lbp(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)), minlength=256)
        histograms.append(counts if mode == "corrected" else numpy.append(counts[:63], counts[63] + counts[64]))
    expected = numpy.corrcoef(*histograms)[0, 1]
    assert texture(compare(first, second, protocol=PROTOCOLS[mode])) == pytest.approx(expected, abs=1e-5)


def brute_force_harris(image: numpy.ndarray) -> numpy.ndarray:
    """Harris and Stephens 1988: det M - 0.04 (tr M)², M summed over 2 × 2 products of Sobel derivatives."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    dx, dy = (ndimage.sobel(grey, axis, mode="mirror") for axis in (1, 0))
    xx, yy, xy = (4 * ndimage.uniform_filter(one, 2, mode="mirror") for one in (dx * dx, dy * dy, dx * dy))
    return xx * yy - xy**2 - 0.04 * (xx + yy) ** 2


def test_corners_are_the_maxima_of_harris_response():
    image, _ = drawn.worn(*drawn.garment(3))
    response = brute_force_harris(image)
    nearby = ndimage.maximum_filter(response, 3)
    found = {tuple(point) for point in corners(image, None, CORRECTED)}
    expected = {tuple(point) for point in numpy.argwhere((response == nearby) & (response > 0.01 * response.max()))}
    assert len(expected) > 20
    assert len(found ^ expected) <= 0.02 * len(expected)  # float32 there, float64 here
    dilated = {tuple(point) for point in corners(image, None, PUBLISHED)}
    expected = {tuple(point) for point in numpy.argwhere(nearby > 0.01 * response.max())}
    assert len(dilated ^ expected) <= 0.02 * len(expected)
    assert len(dilated) > 3 * len(found)


@pytest.mark.parametrize("seed", range(5))
def test_corner_distance_is_the_mean_of_the_nearest_both_ways(seed: int):
    rng = numpy.random.default_rng(seed)
    points, others = rng.integers(0, 500, (80, 2)), rng.integers(0, 500, (50, 2))
    there = straightforward_cami.nearest(points, others).mean()
    back = straightforward_cami.nearest(others, points).mean()
    assert corner_distance(points, others, 100.0, CORRECTED) == pytest.approx((there + back) / 200, abs=1e-12)
    assert corner_distance(points, others, 100.0, PUBLISHED) == pytest.approx(there / 100, abs=1e-12)


def test_corner_distance_of_a_case_that_one_can_compute_by_hand():
    points, others = numpy.array([[0, 0], [0, 10]]), numpy.array([[3, 4]])
    # from (0, 0) 5, from (0, 10) √45; back 5
    assert corner_distance(points, others, 1.0, PUBLISHED) == pytest.approx((5 + math.sqrt(45)) / 2)
    assert corner_distance(points, others, 1.0, CORRECTED) == pytest.approx(((5 + math.sqrt(45)) / 2 + 5) / 2)


def test_corners_on_one_side_only_are_as_far_as_can_be_and_on_neither_as_near():
    none, some = numpy.zeros((0, 2), int), numpy.array([[1, 2]])
    assert corner_distance(none, none, 1.0, CORRECTED) == 0
    assert corner_distance(none, some, 1.0, CORRECTED) == corner_distance(some, none, 1.0, CORRECTED) == 1
    assert corner_distance(some, none, 1.0, PUBLISHED) == 0.99
    assert corner_distance(some, numpy.zeros((5001, 2), int), 1.0, PUBLISHED) == 0.99
    with pytest.raises(NoScore, match="no corner on the garment"):
        corner_distance(none, some, 1.0, PUBLISHED)


def test_pose_is_how_much_of_the_skeleton_is_met():
    asked = numpy.zeros((20, 20, 3), numpy.uint8)
    asked[5, :10] = (255, 0, 0)
    found = numpy.zeros_like(asked)
    found[5, 4:20] = (0, 90, 0)
    assert pose(asked, found) == 0.6
    assert pose(asked, numpy.repeat(numpy.repeat(found, 2, 0), 2, 1)) == pytest.approx(0.6, abs=0.11)


def test_published_pose_loses_what_overflows():
    asked = numpy.zeros((20, 20, 3), numpy.uint8)
    asked[5, :10] = 16
    asked[6, :10] = (128, 128, 0)  # 256 is 0 in 8 bits
    found = asked.copy()
    found[5, :5] = (1, 0, 0)
    found[5, 5:10] = (16, 0, 0)  # 48 · 16 is a multiple of 256
    assert pose(asked, found, PUBLISHED) == 0.5
    assert pose(asked, found, CORRECTED) == 1.0


# Published mode against the official steps


@pytest.mark.parametrize("seed", range(3))
def test_published_terms_are_those_of_the_official_steps(seed: int):
    photograph, _ = drawn.garment(seed)
    image, where = drawn.worn(*drawn.garment(seed))
    expected = straightforward_cami.cami_u(photograph[..., ::-1].copy(), (image * where[..., None])[..., ::-1].copy())
    terms = cami_u_terms(photograph, image, generated_mask=where, protocol=PUBLISHED)
    assert [number(terms[name]) for name in CAMI_U_TERMS] == pytest.approx(expected, abs=1e-6)
    assert number(total(terms, CAMI_U_TERMS)) == pytest.approx(sum(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("garment", "image", "vector"),
    [
        # python tests/support/straightforward_cami.py workflows/input/imagdressing_… workflows/input/imagdressing_…
        ("shirt", "trousers", (0.758758, 0.993379, 0.939492)),
        ("trousers", "worn", (0.710146, 0.991433, 0.810497)),
    ],
)
def test_published_terms_of_shipped_images_are_vectors_to_recompute(
    garment: str, image: str, vector: tuple[float, ...]
):
    first, second = (read_image(REPOSITORY / f"workflows/input/imagdressing_{name}.png") for name in (garment, image))
    terms = cami_u_terms(first, second, protocol=PUBLISHED)
    assert [number(terms[name]) for name in CAMI_U_TERMS] == pytest.approx(vector, abs=1e-5)


def test_published_does_not_mask_the_photograph():
    photograph, mask = drawn.garment(0)
    image, where = drawn.worn(photograph, mask)
    with_mask, without = (cami_u_terms(photograph, image, one, where, PUBLISHED) for one in (mask, None))
    assert with_mask == without


# The corrections


def test_each_choice_of_the_protocol_is_one_correction_with_a_reason():
    assert list(CORRECTIONS) == [field.name for field in fields(CamiProtocol)]
    for one in CORRECTIONS.values():
        assert all((one.term, one.official, one.corrected, one.reason))
        assert one.official != one.corrected


@pytest.mark.parametrize("name", [name for name, one in CORRECTIONS.items() if one.term != "pose"])
def test_each_correction_changes_the_terms_that_it_names_and_no_other(name: str):
    photograph, mask = drawn.garment(0)
    image, where = drawn.worn(photograph, mask)
    if name == "any_number_of_corners":
        image, where = noise(120, 100), numpy.ones((120, 100), bool)
    before = cami_u_terms(photograph, image, mask, where, PUBLISHED)
    after = cami_u_terms(photograph, image, mask, where, replace(PUBLISHED, **{name: True}))
    changed = {term for term in CAMI_U_TERMS if before[term] != after[term]}
    assert changed == set(CORRECTIONS[name].term.split(", "))


def test_a_copy_of_another_size_keeps_its_keypoints_once_corrected():
    photograph, mask = drawn.garment(0)
    double = numpy.repeat(numpy.repeat(photograph, 2, 0), 2, 1)
    double_mask = numpy.repeat(numpy.repeat(mask, 2, 0), 2, 1)
    corrected = keypoints(compare(double, photograph, double_mask, mask, CORRECTED))
    published = keypoints(compare(double, photograph, double_mask, mask, PUBLISHED))
    assert corrected > 0.98
    assert published < 0.95
