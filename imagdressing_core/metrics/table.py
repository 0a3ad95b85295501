"""The result table as pandas frames: scores of every image, and a mean with its certainty for each method and column.

Scores that were made under other conditions are not set against each other: where one method's images have masks and
another's have none, or (in the mode ``published``) other sizes, there is no difference and no p but the reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from ..errors import packages
from .manifest import PairFiles
from .outcome import NoScore, total
from .paper import CAMI_U_TERMS, COLUMNS, Column, Mode
from .scoring import MASKS, Scorer, Scores
from .statistics import difference, holm, mean

with packages("The table"):
    import pandas as pandas_with_types

pandas: Any = pandas_with_types  # its types do not follow groupby and pivot
Frame: TypeAlias = Any
"""A DataFrame of pandas."""

COUNTS = ("pictures", "of", "garments", "common_pictures")
CELL = [
    "method", "column", "reason", "mean", "low", "high", "pictures", "difference", "p", "garments",
    "difference_low", "difference_high", "p_holm", "common_mean", "common_pictures", "of", "note",
]  # fmt: skip
SUMS = [column.name for column in COLUMNS]
MASKED = " and ".join(MASKS)
ORIENTATION, FIRST_ON_ITS_SIDE = 0x0112, 5  # of EXIF
UNMASKED, OTHER_SIZE = "†", "‡"


@dataclass(frozen=True)
class Table:
    """All that a report is made of.

    Attributes:
        mode: The way CAMI was computed.
        reference: The method that the others are compared with.
        scores: A row for each method, picture and column: ``garment``, ``value`` (NaN without a score), ``reason``,
            ``detail``, the ``masks`` that were given, and the ``size`` of the image.
        cells: A row for each method and column; see :func:`_cell`.
        columns: The columns of which all terms were asked for, the paper's first.
    """

    mode: Mode
    reference: str
    scores: Frame
    cells: Frame
    columns: Sequence[Column]

    @property
    def methods(self) -> list[str]:
        return list(self.scores["method"].unique())

    @property
    def missing(self) -> Frame:
        """The rows of ``scores`` without a score; sums are left out, because they lack what their terms lack."""
        return self.scores[self.scores["value"].isna() & ~self.scores["column"].isin(SUMS)]


def make_table(
    pairs: Sequence[PairFiles],
    scores: Sequence[Scores],
    reference: str,
    mode: Mode,
    scorers: Sequence[Scorer],
    distances: Mapping[Column, Sequence[dict[str, Any]]],
) -> Table:
    """Return the table of all methods.

    Args:
        pairs: All images.
        scores: Of each pair.
        reference: The method that the others are compared with.
        mode: The way CAMI was computed.
        scorers: What computed the scores.
        distances: Further columns with their cells, of whole methods.
    """
    frame = score_frame(pairs, scores)
    columns = {one.name: one for one in (*COLUMNS, *(column for scorer in scorers for column in scorer.columns))}
    cells = [cell for own in distances.values() for cell in own]
    for column, group in frame.groupby("column", sort=False):
        by_method = dict(list(group.groupby("method", sort=False)))
        values = group.pivot(index="picture", columns="method", values="value").dropna()
        for method, own in by_method.items():
            cell = _cell(columns[str(column)], own, by_method[reference], mode)
            common = float(values[method].mean()) if len(values) else None
            cells.append(cell | {"common_mean": common, "common_pictures": len(values)})
    found = pandas.DataFrame(cells, columns=CELL).astype(dict.fromkeys(COUNTS, "Int64"))
    tested = found["p"].notna()
    found.loc[tested, "p_holm"] = holm(found.loc[tested, "p"].tolist())
    asked = set(frame["column"])
    shown = [column for name, column in columns.items() if name in asked]
    return Table(mode, reference, frame, found, [*shown, *distances])


def score_frame(pairs: Sequence[PairFiles], scores: Sequence[Scores]) -> Frame:
    """Return every score of every image, and the sums of those that have all their terms, a row each."""
    records: list[dict[str, Any]] = []
    for files, found in zip(pairs, scores, strict=True):
        sums = {column.name: total(found, column.terms) for column in COLUMNS if found.keys() >= set(column.terms)}
        same = {
            "method": files.method.name,
            "picture": files.case.file_name,
            "garment": files.case.garment_id,
            "masks": " and ".join(name for name in MASKS if files.part(name) is not None) or "none",
            "size": _size(files.part("generated")),
        }
        for name, outcome in (*sums.items(), *found.items()):
            value, reason, detail = (
                (None, outcome.reason, outcome.detail) if isinstance(outcome, NoScore) else (outcome, "", "")
            )
            records.append({**same, "column": name, "value": value, "reason": reason, "detail": detail})
    return pandas.DataFrame(records).astype({"value": float})


def _cell(column: Column, own: Frame, other: Frame, mode: Mode) -> dict[str, Any]:
    """Return a method's cell in one column.

    Args:
        own: The method's rows of :attr:`Table.scores`.
        other: Those of the reference.
    """
    method = own["method"].iloc[0]
    scored = own[own["value"].notna()]
    cell: dict[str, Any] = {"method": method, "column": column.name, "reason": "", "of": len(own), "p": None}
    if scored.empty:
        return cell | {"reason": Counter(own["reason"]).most_common(1)[0][0], "pictures": 0, "note": ""}
    found = mean(scored["value"].tolist(), scored["garment"].tolist())
    low, high = found.interval or (None, None)
    cell |= {"mean": found.value, "low": low, "high": high, "pictures": found.count}
    obstacle, note = _conditions(column, scored, other, mode)
    cell["note"] = note
    if method == other["method"].iloc[0] or obstacle:
        return cell
    against = other[other["value"].notna()]
    between = difference(
        dict(zip(scored["picture"], scored["value"], strict=True)),
        dict(zip(against["picture"], against["value"], strict=True)),
        dict(zip(own["picture"], own["garment"], strict=True)),
    )
    if between is not None:
        low, high = between.interval
        cell |= {"difference": between.value, "p": between.p, "garments": between.garments}
        cell |= {"difference_low": low, "difference_high": high}
    return cell


def _conditions(column: Column, own: Frame, other: Frame, mode: Mode) -> tuple[bool, str]:
    """Return whether two methods cannot be compared in this column, and a note on the conditions of the scores."""
    notes = []
    both = own.merge(other, on="picture", suffixes=("", "_other"))
    masks_differ = column.masked and bool((both["masks"] != both["masks_other"]).any())
    sizes_differ = bool((both["size"] != both["size_other"]).any())
    if column.masked and bool((own["masks"] != MASKED).any()):
        notes.append(f"{UNMASKED} without masks")
    if sizes_differ:
        notes.append(f"{OTHER_SIZE} other size than the reference")
    obstacle = masks_differ or (sizes_differ and mode == "published" and not set(CAMI_U_TERMS).isdisjoint(column.terms))
    if obstacle:
        notes.append("not compared: " + ("masks differ" if masks_differ else "sizes differ"))
    return obstacle, "; ".join(notes)


def _size(path: Path | str | None) -> str:
    try:
        with Image.open(path or "") as file:
            is_on_its_side = file.getexif().get(ORIENTATION, 1) >= FIRST_ON_ITS_SIDE  # as it is turned for its score
            return " × ".join(map(str, file.size[::-1] if is_on_its_side else file.size))
    except Exception:  # the reason is in the scores
        return ""
