"""How certain a mean or a difference is: t intervals and paired permutation tests. The unit is the garment.

Images of one garment are not independent of each other, so the garments count as the sample and not the images.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from ..errors import packages

with packages("Confidence intervals"):
    from scipy.stats import permutation_test, t

RESAMPLES, RESAMPLES_AT_ONCE = 9999, 200
MOST_ENUMERATED = 13  # garments: with more, there are more exchanges than RESAMPLES
CONFIDENCE = 0.95
SEED = 0

Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """The mean score of ``count`` images and its 95 % interval, which is None for fewer than two garments."""

    value: float
    count: int
    interval: Interval | None


@dataclass(frozen=True)
class Difference:
    """The mean difference of two methods over their common ``garments`` and its 95 % interval.

    p: The two-sided probability that chance alone makes so large a difference.
    """

    value: float
    interval: Interval
    garments: int
    p: float


def mean(scores: Sequence[float], garments: Sequence[Hashable]) -> Mean:
    """Return the mean of at least one score.

    The interval is that of a ratio estimator over clusters: with the residual r_g = Σ scores − mean · count of each of
    G garments, the variance is G / (G − 1) · Σ r_g² / N², and the quantile that of t with G − 1 degrees of freedom.

    Args:
        garments: The garment of each score.
    """
    value = float(numpy.mean(scores))
    sums, counts = _by_garment(scores, garments)
    if len(sums) < 2:
        return Mean(value, len(scores), None)
    variance = len(sums) / (len(sums) - 1) * numpy.square(sums - value * counts).sum() / len(scores) ** 2
    return Mean(value, len(scores), _interval(value, variance, len(sums)))


def difference(
    scores: Mapping[str, float], others: Mapping[str, float], garments: Mapping[str, Hashable]
) -> Difference | None:
    """Compare two methods on the images that both have a score for; None for fewer than two common garments.

    The p is that of a permutation test which swaps the two methods garment by garment.

    Args:
        scores: The scores of one method by image.
        others: Those of the other.
        garments: The garment of each image.
    """
    common = [image for image in scores if image in others]
    sums, counts = _by_garment([scores[image] - others[image] for image in common], [garments[one] for one in common])
    if len(sums) < 2:
        return None
    differences = sums / counts
    value = float(differences.mean())
    interval = _interval(value, differences.var(ddof=1) / len(differences), len(differences))
    return Difference(value, interval, len(differences), _p(differences))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values that are corrected for their number by Holm's step-down method."""
    order = numpy.argsort(ps)
    stepped = numpy.asarray(ps)[order] * (len(ps) - numpy.arange(len(ps)))
    corrected = numpy.empty(len(ps))
    corrected[order] = numpy.minimum(numpy.maximum.accumulate(stepped), 1)
    return corrected.tolist()


def _by_garment(scores: Sequence[float], garments: Sequence[Hashable]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the sum and the number of scores of each garment."""
    numbers: dict[Hashable, int] = {}
    index = numpy.array([numbers.setdefault(garment, len(numbers)) for garment in garments], int)
    return numpy.bincount(index, scores), numpy.bincount(index)


def _interval(value: float, variance: float, garments: int) -> Interval:
    half = float(t.ppf((1 + CONFIDENCE) / 2, garments - 1) * numpy.sqrt(variance))
    return value - half, value + half


def _p(differences: NDArray[numpy.float64]) -> float:
    """Return the part of all exchanges of the two methods that differ as much; of random exchanges for many garments.

    SciPy enumerates all of them. A random exchange is one bit for each garment, which is far faster than SciPy's
    general resampling; as there, the observed exchange counts as one of the resamples.
    """
    if len(differences) <= MOST_ENUMERATED:
        both = differences, numpy.zeros_like(differences)
        exact = permutation_test(
            both, lambda ours, theirs, axis: (ours - theirs).mean(axis=axis), permutation_type="samples"
        )
        return float(exact.pvalue)
    rng, observed, extreme = numpy.random.default_rng(SEED), abs(differences.sum()) * (1 - 1e-12), 1
    for start in range(0, RESAMPLES, RESAMPLES_AT_ONCE):
        rows = min(RESAMPLES_AT_ONCE, RESAMPLES - start)
        bits = numpy.frombuffer(rng.bytes(rows * -(-len(differences) // 8)), numpy.uint8).reshape(rows, -1)
        exchanged = numpy.unpackbits(bits, axis=1, count=len(differences)) @ differences
        extreme += int((numpy.abs(differences.sum() - 2 * exchanged) >= observed).sum())
    return extreme / (RESAMPLES + 1)
