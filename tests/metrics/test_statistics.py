"""Intervals and paired tests, against what can be computed by hand."""

import itertools

import numpy
import pytest
from scipy.stats import permutation_test, ttest_rel

from imagdressing_core.metrics.statistics import difference, holm, mean


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


def test_a_difference_has_the_paired_t_interval():
    ours = dict(zip("abcdef", numpy.random.default_rng(0).normal(2, 0.2, 6), strict=True))
    theirs = dict(zip("abcdef", numpy.random.default_rng(1).normal(1.9, 0.2, 6), strict=True))
    found = difference(ours, theirs, {name: name for name in ours})
    expected = ttest_rel(list(ours.values()), list(theirs.values())).confidence_interval(0.95)
    assert found is not None
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_p_of_many_garments_is_that_of_scipys_permutation_test():
    rng = numpy.random.default_rng(3)
    scores, others = ({str(i): one for i, one in enumerate(rng.normal(m, 0.2, 40))} for m in (2, 1.93))
    found = difference(scores, others, {name: name for name in scores})
    assert found is not None
    both = numpy.array(list(scores.values())), numpy.array(list(others.values()))
    expected = permutation_test(both, lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples", rng=rng)
    assert 0.001 < found.p < 0.5
    assert found.p == pytest.approx(float(expected.pvalue), rel=0.15)


def test_the_interval_covers_the_truth_of_few_garments():
    """A bootstrap of percentiles covers 84 % of six garments (measured), t intervals close to the nominal 95 %."""
    rng = numpy.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        garments = numpy.repeat(numpy.arange(6), rng.integers(1, 6, 6))
        scores = rng.normal(2, 0.2, 6)[garments] + rng.normal(0, 0.05, len(garments))
        found = mean(scores.tolist(), garments.tolist()).interval
        assert found is not None
        covered += found[0] <= 2 <= found[1]
    assert 900 < covered < 975


def test_p_values_are_corrected_for_their_number():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []
