"""The outcome of a score: a number, or the named reason why there is none.

The reason is an exception that is kept as a value, so that one broken file does not end a run over thousands.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from ..errors import IMAGDressingError

Result = TypeVar("Result")


class NoScore(IMAGDressingError):
    """A score that cannot be computed.

    Attributes:
        reason: The same words whenever the reason is the same, so that a report can count them.
        detail: Which file it was and what was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["NoScore"], tuple[str, str]]:
        return NoScore, (self.reason, self.detail)  # to travel between processes


Outcome: TypeAlias = "float | NoScore"


def attempt(step: Callable[..., Result], *arguments: Any) -> Result | NoScore:
    """Return what a step returns, or why it cannot be done."""
    try:
        return step(*arguments)
    except NoScore as reason:
        return reason.with_traceback(None)  # which would keep the step's images in memory


def checked(outcome: Outcome) -> Outcome:
    """Return a score of any library's kind as a float, a reason as it is, and one where it is NaN or infinite."""
    if isinstance(outcome, NoScore):
        return outcome
    return float(outcome) if math.isfinite(outcome) else NoScore("score is not a number", str(outcome))


def total(outcomes: Mapping[str, Outcome], terms: Iterable[str]) -> Outcome:
    """Return the sum of the terms; if some have no score, the reason of the first of these."""
    values = [outcomes[term] for term in terms]
    reasons = [value for value in values if isinstance(value, NoScore)]
    return reasons[0] if reasons else sum(value for value in values if not isinstance(value, NoScore))
