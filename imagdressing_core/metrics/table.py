"""The result table: a mean for each method and column, how sure it is, and what is missing and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .manifest import Method, PairFiles
from .outcome import NoScore, Outcome, total
from .paper import COLUMNS, PAPER_ROWS, TERMS, Column, PaperRow
from .scoring import Scores
from .statistics import Difference, Mean, difference, mean

NOT_GIVEN = "no folder of this method was given"


@dataclass(frozen=True)
class Scored:
    """A pair with its terms."""

    files: PairFiles
    scores: Scores

    @property
    def image(self) -> str:
        return self.files.case.file_name

    @property
    def garment(self) -> Path:
        return self.files.case.garment

    def outcome(self, column: Column) -> Outcome:
        return total(self.scores, column.terms)


@dataclass(frozen=True)
class Cell:
    """A method's score in one column. mean: None if there is none, for which ``reason`` is given.

    difference: from the method that is compared with, where both have scores.
    """

    mean: Mean | None
    reason: str = ""
    difference: Difference | None = None


@dataclass(frozen=True)
class Row:
    """A method's row: a cell for each column, and what the paper says of it."""

    method: str
    images: int
    cells: Mapping[str, Cell]
    paper: PaperRow | None


@dataclass(frozen=True)
class Failure:
    """How many pairs of a method have no score in some terms for one reason; ``first`` is one of them."""

    method: str
    terms: tuple[str, ...]
    reason: str
    count: int
    first: str


@dataclass(frozen=True)
class Table:
    """All that a report is made of. reference: the method that the others are compared with.

    rows: the paper's columns; terms: the same for each term alone; both begin with the paper's methods, in its order.
    """

    rows: tuple[Row, ...]
    terms: tuple[Row, ...]
    failures: tuple[Failure, ...]
    scored: tuple[Scored, ...]
    reference: str


TERM_COLUMNS = tuple(
    Column(term, (term,), all(column.higher_is_better for column in COLUMNS if column.terms == (term,)))
    for term in TERMS
)


def make_table(methods: Sequence[Method], scored: Sequence[Scored], asked: Sequence[str], reference: str) -> Table:
    """Return the table of all methods. asked: the terms that were to be computed."""
    by_method = {method.name: [one for one in scored if one.files.method == method] for method in methods}
    term_columns = [column for column in TERM_COLUMNS if column.name in asked]
    names = [*(row.method for row in PAPER_ROWS), *(name for name in by_method if name not in _PAPER)]
    return Table(
        rows=tuple(_row(name, by_method, COLUMNS, asked, reference) for name in names),
        terms=tuple(_row(name, by_method, term_columns, asked, reference) for name in by_method),
        failures=tuple(failure for name, ones in by_method.items() for failure in _failures(name, ones)),
        scored=tuple(scored),
        reference=reference,
    )


_PAPER = {row.method: row for row in PAPER_ROWS}


def _row(
    name: str,
    by_method: Mapping[str, Sequence[Scored]],
    columns: Sequence[Column],
    asked: Sequence[str],
    reference: str,
) -> Row:
    ones = by_method.get(name, ())
    others = by_method.get(reference, ()) if reference != name else ()
    cells = {column.name: _cell(column, ones, others, asked) for column in columns}
    return Row(name, len(ones), cells, _PAPER.get(name))


def _cell(column: Column, ones: Sequence[Scored], others: Sequence[Scored], asked: Sequence[str]) -> Cell:
    left_out = [term for term in column.terms if term not in asked]
    if not ones:
        return Cell(None, NOT_GIVEN)
    if left_out:
        return Cell(None, f"not asked for: {', '.join(left_out)}")
    scores = _numbers(column, ones)
    if not scores:
        reasons = Counter(outcome.reason for one in ones if isinstance(outcome := one.outcome(column), NoScore))
        return Cell(None, reasons.most_common(1)[0][0])
    garments = {one.image: one.garment for one in (*ones, *others)}
    return Cell(
        mean(list(scores.values()), [garments[image] for image in scores]),
        difference=difference(scores, _numbers(column, others), garments),
    )


def _numbers(column: Column, ones: Sequence[Scored]) -> dict[str, float]:
    """Return the scores by image."""
    outcomes = {one.image: one.outcome(column) for one in ones}
    return {image: outcome for image, outcome in outcomes.items() if not isinstance(outcome, NoScore)}


def _failures(method: str, ones: Sequence[Scored]) -> list[Failure]:
    terms: dict[tuple[str, str, str], list[str]] = {}
    for one in ones:
        for term, outcome in one.scores.items():
            if isinstance(outcome, NoScore):
                terms.setdefault((outcome.reason, outcome.detail, one.image), []).append(term)
    places: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, detail, image), failed in terms.items():
        places.setdefault((reason, tuple(failed)), []).append(f"{image} ({detail})" if detail else image)
    return [Failure(method, failed, reason, len(found), found[0]) for (reason, failed), found in places.items()]


def by_garment(scored: Sequence[Scored]) -> dict[tuple[Path, str], dict[str, float]]:
    """Return each column's mean over the images of one garment by one method, by (garment, method)."""
    groups: dict[tuple[Path, str], list[Scored]] = {}
    for one in scored:
        groups.setdefault((one.garment, one.files.method.name), []).append(one)
    return {
        group: {
            column.name: sum(numbers) / len(numbers)
            for column in (*COLUMNS, *TERM_COLUMNS)
            if (numbers := list(_numbers(column, ones).values()))
        }
        for group, ones in sorted(groups.items())
    }
