"""How sure a mean is: bootstrap intervals, and paired tests between methods. The unit is the garment.

Images of one garment are not independent of each other, so garments are resampled and not images.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy

from ..errors import packages

with packages("Confidence intervals"):
    from scipy.stats import bootstrap, permutation_test

RESAMPLES = 9999
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Mean:
    """The mean of the scores of ``count`` images; low … high is its 95 % interval, None under two garments."""

    value: float
    count: int
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """The mean difference of two methods over their common garments, and the probability of it by chance."""

    value: float
    garments: int
    p: float


def mean(scores: Sequence[float], garments: Sequence[Hashable]) -> Mean:
    """Return the mean of at least one score. garments: which one each score belongs to."""
    groups = _by_garment(scores, garments)
    if len(groups) < 2:
        return Mean(float(numpy.mean(scores)), len(scores), None)
    sums = numpy.array([sum(group) for group in groups.values()])
    counts = numpy.array([len(group) for group in groups.values()])
    result = bootstrap(
        (sums, counts),
        lambda sums, counts, axis: sums.sum(axis=axis) / counts.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=numpy.random.default_rng(SEED),
    )
    interval = result.confidence_interval
    return Mean(float(numpy.mean(scores)), len(scores), (float(interval.low), float(interval.high)))


def difference(
    scores: Mapping[str, float], others: Mapping[str, float], garments: Mapping[str, Hashable]
) -> Difference | None:
    """Compare two methods on the images that both have a score for; None under two common garments.

    The p is two-sided, by a permutation test that swaps the methods garment by garment.

    scores, others: by image. garments: which one each image shows.
    """
    common = [image for image in scores if image in others]
    groups = _by_garment([scores[image] - others[image] for image in common], [garments[p] for p in common])
    if len(groups) < 2:
        return None
    differences = numpy.array([numpy.mean(group) for group in groups.values()])
    result = permutation_test(
        (differences, numpy.zeros_like(differences)),
        lambda ours, theirs, axis: (ours - theirs).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=numpy.random.default_rng(SEED),
    )
    return Difference(float(differences.mean()), len(groups), float(result.pvalue))


def _by_garment(scores: Sequence[float], garments: Sequence[Hashable]) -> dict[Hashable, list[float]]:
    groups: dict[Hashable, list[float]] = {}
    for score, garment in zip(scores, garments, strict=True):
        groups.setdefault(garment, []).append(score)
    return groups
