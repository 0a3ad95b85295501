"""The workflows' input images are whole and fit together."""

from pathlib import Path

import numpy

from demo import samples, world

WORKFLOW_INPUTS = Path(__file__).resolve().parents[2] / "workflows" / "input"


def test_there_is_a_sample_for_every_image_that_a_workflow_starts_from() -> None:
    assert set(samples.SAMPLES) == {path.name for path in WORKFLOW_INPUTS.glob("*.png")}


def test_the_person_is_transparent_where_the_shirt_was_and_opaque_at_the_face() -> None:
    alpha = numpy.asarray(samples.person())[..., 3]
    shirt = numpy.asarray(world.mask(samples.SOMEBODY, "shirt", samples.WIDTH)) > 0
    x, y = (round(samples.WIDTH * side) for side in world.Body(samples.SOMEBODY).at(0, -1.0))

    assert set(numpy.unique(alpha)) == {0, 255}
    assert not alpha[shirt].any()
    assert alpha[y, x] == 255


def test_the_two_halves_make_a_whole() -> None:
    upper, lower = (numpy.asarray(samples.half(one)).astype(int) for one in (True, False))

    assert abs(upper + lower - 255).max() <= 2
    assert upper[0].min() == 255
    assert lower[-1].min() == 255
