"""The drawn world holds what prompts and measurements take for granted of it."""

import numpy
import pytest
from PIL import ImageChops

from demo import data, drawing, world


def test_the_same_number_draws_the_same_image_and_another_draws_another() -> None:
    first, again, other = (world.image(data.drawn(number), 64) for number in (1, 1, 2))

    assert first.size == (64, 80)
    assert ImageChops.difference(first, again).getbbox() is None
    assert ImageChops.difference(first, other).getbbox() is not None


def test_nobody_of_the_evaluation_wears_a_garment_of_the_training() -> None:
    worn = {cloth for number in range(3000) for cloth in (data.drawn(number).shirt, data.drawn(number).trousers)}
    kept_back = {cloth for number in range(48) for cloth in (data.drawn(number, "unseen").shirt,)}

    assert len(kept_back) == 48
    assert not worn & kept_back


@pytest.mark.parametrize("kind", drawing.KINDS)
@pytest.mark.parametrize("pattern", drawing.PATTERNS)
def test_a_pattern_is_seen_in_both_colours_on_the_garment_and_on_the_person(kind: str, pattern: str) -> None:
    cloth = drawing.Cloth(kind, pattern, (250, 0, 0), (0, 0, 250))
    person = world.in_clothes(data.drawn(3), **{kind: cloth})

    flat, worn = numpy.asarray(drawing.garment_image(cloth, 128)), numpy.asarray(world.image(person, 128))

    for image in (flat, worn):
        assert (image == cloth.colour).all(-1).any()
        assert (image == cloth.second).all(-1).any() == (pattern != "plain")


def test_a_mask_marks_where_a_change_of_garment_changes_the_image() -> None:
    person = data.drawn(5)
    for kind in drawing.KINDS:
        changed = world.in_clothes(person, **{kind: drawing.Cloth(kind, "plain", (255, 0, 255), (0, 0, 0))})
        difference = ImageChops.difference(world.image(person, 128), world.image(changed, 128)).convert("L")

        inside = numpy.asarray(world.mask(person, kind, 128)) > 0

        assert not numpy.asarray(difference)[~inside].any()
        assert (numpy.asarray(difference)[inside] > 0).mean() > 0.9


def test_the_skeleton_stands_in_the_figure() -> None:
    person = data.drawn(7)
    points = world.Body(person).keypoints()

    assert len(points) == 18
    assert all(0 < x < 1 and 0 < y < drawing.ASPECT for x, y in points)
