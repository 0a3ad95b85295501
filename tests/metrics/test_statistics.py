"""Intervals and paired tests, against what can be computed by hand."""

import itertools

import numpy
import pytest

from imagdressing_core.metrics.statistics import difference, mean


def test_the_interval_is_that_of_the_normal_distribution_where_scores_are_normal():
    scores = numpy.random.default_rng(0).normal(1.7, 0.2, 500).tolist()
    found = mean(scores, range(500))
    assert found.value == pytest.approx(numpy.mean(scores))
    assert found.count == 500
    assert found.interval is not None
    half = 1.96 * numpy.std(scores, ddof=1) / numpy.sqrt(500)
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)


def test_many_images_of_few_garments_are_no_surer_than_the_garments():
    per_garment = numpy.random.default_rng(0).normal(1.7, 0.2, 20)
    few = mean(per_garment.tolist(), range(20)).interval
    many = mean(numpy.repeat(per_garment, 50).tolist(), numpy.repeat(range(20), 50).tolist()).interval
    assert few is not None and many is not None
    assert many == pytest.approx(few, abs=1e-9)


def test_one_garment_has_no_interval():
    assert mean([1.0, 2.0], ["shirt", "shirt"]).interval is None
    assert mean([1.0, 2.0], ["shirt", "shirt"]).value == 1.5


def test_p_is_the_share_of_all_exchanges_that_differ_as_much():
    ours = {str(i): value for i, value in enumerate([3.0, 2.0, 5.0, 4.0, 4.5])}
    theirs = {str(i): value for i, value in enumerate([2.0, 2.5, 3.0, 3.0, 4.0])}
    found = difference(ours, theirs, {name: name for name in ours})
    differences = [ours[name] - theirs[name] for name in ours]
    means = [numpy.dot(signs, differences) / 5 for signs in itertools.product((1, -1), repeat=5)]
    assert found is not None
    assert found.garments == 5
    assert found.value == pytest.approx(numpy.mean(differences))
    assert found.p == pytest.approx(numpy.mean([abs(one) >= abs(found.value) - 1e-12 for one in means]))


def test_only_images_that_both_have_are_compared():
    ours, theirs = {"a": 1.0, "b": 2.0, "c": 9.0}, {"a": 0.0, "b": 1.0, "d": 9.0}
    found = difference(ours, theirs, {name: name for name in "abcd"})
    assert found is not None
    assert (found.value, found.garments) == (1.0, 2)
    assert difference(ours, {"a": 0.0}, {name: name for name in "abc"}) is None


def test_equal_methods_do_not_differ():
    scores = {str(i): float(i) for i in range(30)}
    found = difference(scores, scores, {name: name for name in scores})
    assert found is not None
    assert (found.value, found.p) == (0.0, 1.0)
