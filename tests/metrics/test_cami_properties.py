"""CAMI: what must hold of any image, and what is said about images that cannot be scored."""

from dataclasses import replace

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from support import drawn
from support.cami_inputs import noise, number

from imagdressing_core.metrics.cami import (
    COMPARED_HEIGHT,
    cami_u_terms,
    compare,
    keypoints,
    pose,
    structure,
    texture,
)
from imagdressing_core.metrics.outcome import NoScore, total
from imagdressing_core.metrics.paper import CAMI_U_TERMS, PROTOCOLS, CamiProtocol, Mode

PUBLISHED, CORRECTED = PROTOCOLS["published"], PROTOCOLS["corrected"]
TERMS = {"structure": structure, "texture": texture, "keypoints": keypoints}

any_image = arrays(numpy.uint8, (20, 24, 3))


# What must hold of any image


@given(any_image)
@settings(max_examples=40, deadline=None)
def test_identical_images_score_best(image: numpy.ndarray):
    terms = cami_u_terms(image, image)
    assert [number(terms[name]) for name in CAMI_U_TERMS] == pytest.approx([1, 1, 1], abs=1e-6)
    if image.any():
        assert pose(image, image) == 1


@given(any_image, any_image)
@settings(max_examples=40, deadline=None)
def test_terms_stay_in_their_range_and_none_is_better_than_the_same_again(first: numpy.ndarray, second: numpy.ndarray):
    terms = cami_u_terms(first, second)
    low = {"structure": -1, "texture": -1, "keypoints": 0}
    for name in CAMI_U_TERMS:
        assert low[name] - 1e-6 <= number(terms[name]) <= 1 + 1e-6


@given(any_image, any_image)
@settings(max_examples=20, deadline=None)
def test_images_of_one_size_may_change_places(first: numpy.ndarray, second: numpy.ndarray):
    one_way, other_way = cami_u_terms(first, second), cami_u_terms(second, first)
    for name in CAMI_U_TERMS:
        assert number(one_way[name]) == pytest.approx(number(other_way[name]), abs=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_what_is_outside_the_garments_changes_nothing(seed: int):
    photograph, mask = drawn.garment(1)
    image, where = drawn.worn(photograph, mask)
    elsewhere = numpy.where(where[..., None], image, noise(*image.shape[:2], seed=seed))
    paper = numpy.where(mask[..., None], photograph, noise(*photograph.shape[:2], seed=seed + 1))
    assert cami_u_terms(photograph, image, mask, where) == cami_u_terms(paper, elsewhere, mask, where)


@pytest.mark.parametrize("seed", range(4))
def test_swapping_colour_channels_lowers_structure(seed: int):
    photograph, mask = drawn.garment(seed)
    image, where = drawn.worn(photograph, mask)
    swapped = compare(photograph, image[..., [1, 2, 0]], mask, where)
    assert structure(swapped) < structure(compare(photograph, image, mask, where)) - 0.05


@pytest.mark.parametrize("term", CAMI_U_TERMS)
def test_garments_shuffled_between_the_images_score_lower(term: str):
    garments = [drawn.garment(seed) for seed in range(5)]
    images = [drawn.worn(*one) for one in garments]

    def mean(order: list[int]) -> float:
        pairs = [compare(garments[i][0], images[j][0], garments[i][1], images[j][1]) for i, j in enumerate(order)]
        return float(numpy.mean([TERMS[term](pair) for pair in pairs]))

    straight = mean([0, 1, 2, 3, 4])
    for turn in range(1, 5):
        assert mean([(i + turn) % 5 for i in range(5)]) < straight


# Bad input


@pytest.mark.parametrize("mode", PROTOCOLS)
def test_an_empty_mask_or_one_of_another_size_is_named(mode: Mode):
    photograph, image = noise(), noise(50, 44)
    empty, other = numpy.zeros((50, 44), bool), numpy.ones((44, 50), bool)
    for mask, reason in ((empty, "empty mask of the generated image"), (other, "mask of another size than")):
        terms = cami_u_terms(photograph, image, None, mask, PROTOCOLS[mode])
        for outcome in terms.values():
            assert isinstance(outcome, NoScore)
            assert outcome.reason.startswith(reason)


def test_a_garment_of_a_few_pixels_is_no_garment():
    mask = numpy.zeros((50, 44), bool)
    mask[10:14, 10:14] = True
    assert "garment too small" in str(cami_u_terms(noise(), noise(50, 44), None, mask)["structure"])
    mask = numpy.eye(COMPARED_HEIGHT, dtype=bool)  # long enough, but a thread
    terms = cami_u_terms(noise(), noise(*mask.shape), None, mask)
    assert not isinstance(terms["structure"], NoScore)
    assert "garment too small" in str(terms["texture"])


def test_a_black_image_has_no_published_texture_and_a_corrected_one():
    black = numpy.zeros((40, 36, 3), numpy.uint8)
    assert "no texture in the published bins" in str(cami_u_terms(black, noise(), protocol=PUBLISHED)["texture"])
    assert number(cami_u_terms(black, black)["texture"]) == pytest.approx(1)


def test_a_pose_that_is_not_there_has_no_score():
    nothing = numpy.zeros((96, 72, 3), numpy.uint8)
    with pytest.raises(NoScore, match="no pose asked for"):
        pose(nothing, drawn.skeleton())
    with pytest.raises(NoScore, match="no pose in the generated image"):
        pose(drawn.skeleton(), nothing)
    assert pose(drawn.skeleton(), nothing, PUBLISHED) == 0


@pytest.mark.parametrize("size", [(576, 720), (768, 960)])
def test_the_same_image_at_another_size_scores_the_same_once_corrected(size: tuple[int, int]):
    """The methods of the paper's table generate two sizes; the score must not tell these apart."""
    photograph = Image.fromarray(drawn.garment(0)[0]).resize((480, 600), Image.Resampling.NEAREST)
    image, where = Image.fromarray(noise(640, 512, seed=1)), Image.new("L", (512, 640))
    worn = numpy.array(photograph.resize((320, 400), Image.Resampling.LANCZOS))
    worn = worn + numpy.random.default_rng(2).normal(0, 10, worn.shape)  # as no generated image is without flaws
    image.paste(Image.fromarray(worn.clip(0, 255).astype(numpy.uint8)), (90, 120))
    where.paste(255, (90, 120, 410, 520))

    def score_at(size: tuple[int, int], protocol: CamiProtocol) -> float:
        shown = numpy.array(image.resize(size, Image.Resampling.LANCZOS))
        mask = numpy.array(where.resize(size)) > 127
        terms = cami_u_terms(numpy.array(photograph), shown, None, mask, protocol)
        return number(total(terms, CAMI_U_TERMS))

    assert score_at(size, CORRECTED) == pytest.approx(score_at((512, 640), CORRECTED), abs=0.02)
    sized = replace(CORRECTED, one_height=False)
    assert score_at(size, sized) != pytest.approx(score_at((512, 640), sized), abs=0.025)
