"""What a scorer gives for a pair: a number, or the named reason why there is none."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from ..errors import IMAGDressingError


class NoScore(IMAGDressingError):
    """A score that cannot be computed.

    reason: the same words whenever it is the same reason, so that a report can count them.
    detail: which file, what was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["NoScore"], tuple[str, str]]:
        return NoScore, (self.reason, self.detail)  # between processes


Outcome: TypeAlias = "float | NoScore"


def attempt(score: Callable[[], float]) -> Outcome:
    """Return the score, or why there is none; NaN and infinity are no scores."""
    try:
        return checked(score())
    except NoScore as reason:
        return reason


def checked(value: float) -> Outcome:
    """Return ``value``, or the reason where it is not a finite number."""
    return float(value) if math.isfinite(value) else NoScore("score is not a number", str(value))


def total(outcomes: Mapping[str, Outcome], terms: Iterable[str]) -> Outcome:
    """Return the sum of the terms, or why the first of those that are missing is."""
    values = [outcomes.get(term, NoScore(f"{term} was not computed")) for term in terms]
    missing = [value for value in values if isinstance(value, NoScore)]
    return missing[0] if missing else sum(value for value in values if not isinstance(value, NoScore))
