"""The result table as files: Markdown, CSV, LaTeX, and HTML pages with the images side by side."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import packages
from ..files.storage import written_whole
from .manifest import PairFiles
from .paper import ABLATION, COLUMNS, CORRECTIONS, PAPER, PAPER_ROWS, REPAIRS, TERMS, Column, Mode
from .table import CELL, MASKED, OTHER_SIZE, UNMASKED, Frame, Table, pandas

with packages("The report"):
    from tabulate import tabulate

EMPTY, HERE = "–", "here"
WIDEST = 36  # characters of a column in a terminal
LATEX_SIGNS = {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "λ": r"$\lambda$",
    UNMASKED: r"\textdagger{}",
    OTHER_SIZE: r"\textdaggerdbl{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
}
CONDITIONS = (
    f"{UNMASKED}: some pairs have no mask, and their whole images were compared. {OTHER_SIZE}: some images have "
    "another size than the reference's. "
)
NOT_THE_PAPERS = (
    "These scores are no part of the paper and stand beside none of its numbers. FID and KID are of whole methods, "
    "from the photographs of persons in the manifest; with few images they are too large and uncertain."
)


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        title: Its heading.
        frame: Its cells.
        note: The facts that a reader must know.
        best: The labels, row and column, of the cells with the best value.
    """

    title: str
    frame: Frame
    note: str = ""
    best: frozenset[tuple[int, str]] = frozenset()


def grids(table: Table) -> list[Grid]:
    """Return the tables of a report, the result table first; those without rows are left out."""
    paper = [column for column in table.columns if column in COLUMNS]
    terms = [column for column in table.columns if column.name in TERMS]
    others = [column for column in table.columns if column not in [*paper, *terms]]
    of_images = [column for column in others if column.terms]
    found = (
        _results(table),
        _common(table, paper),
        _differences(table, f"Difference from {table.reference}", paper),
        _means(table, "Terms", terms),
        _differences(table, f"Difference from {table.reference}, by term", terms),
        _means(table, "Not in the paper", others, NOT_THE_PAPERS),
        _differences(table, f"Difference from {table.reference}, not in the paper", of_images),
        _gaps(table),
        _failures(table),
        _unmasked(table),
    )
    return [grid for grid in found if len(grid.frame) and len(grid.frame.columns) > 1]


def markdown(grid: Grid) -> str:
    """Return a table in GitHub's Markdown, the best of each column bold."""
    frame = grid.frame.replace({r"\|": r"\|", "\n": " "}, regex=True)
    for cell in grid.best:
        frame.loc[cell] = f"**{frame.loc[cell]}**"
    return tabulate(frame, "keys", "github", showindex=False, disable_numparse=True)


def wrapped(grid: Grid) -> str:
    """Return a table of long texts for a terminal."""
    return tabulate(grid.frame, "keys", "simple_grid", showindex=False, maxcolwidths=WIDEST, disable_numparse=True)


def latex(grid: Grid) -> str:
    """Return a table in LaTeX, for the package booktabs: numbers to the right, the best of each column bold."""
    bold = pandas.DataFrame("", grid.frame.index, grid.frame.columns)
    for cell in grid.best:
        bold.loc[cell] = "textbf:--rwrap;"
    style = grid.frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    align = "".join("l" if name in ("method", "source") else "r" for name in grid.frame.columns)
    text = style.apply(lambda _: bold, axis=None).to_latex(hrules=True, column_format=align)
    for sign, code in LATEX_SIGNS.items():
        text = text.replace(sign, code)
    return re.sub(r"(?<!\w)-(?=\d+\.)", "$-$", text)


def write_report(
    table: Table, pairs: Sequence[PairFiles], origin: Mapping[str, str], folder: Path, images: int
) -> None:
    """Write all files of the report.

    Args:
        origin: The provenance by name. Every file has it; a CSV has its ``run``, which ``evaluation.json`` explains.
        images: The number of manifest rows whose images the pages show.
    """
    from .page import pages

    shown = grids(table)
    lines = [f"{name}: {value}" for name, value in origin.items()]
    sections = [f"## {grid.title}\n\n{grid.note}\n\n{markdown(grid)}\n" for grid in shown]
    run = origin["run"]
    texts = {
        "table.md": "\n".join([*sections, "## Origin\n", *(f"- {line}" for line in lines), ""]),
        "table.tex": "".join(f"% {line}\n" for line in lines) + latex(shown[0]),
        "table.csv": _table_csv(table).assign(run=run).to_csv(index=False, lineterminator="\n"),
        "scores.csv": _scores_csv(table).assign(run=run).to_csv(index=False, lineterminator="\n"),
        "garments.csv": _garments_csv(table).assign(run=run).to_csv(index=False, lineterminator="\n"),
        "evaluation.json": json.dumps(dict(origin), indent=2, ensure_ascii=False) + "\n",
        **pages(table, pairs, [*shown, corrections(table.mode)], origin, images),
    }
    for name, text in texts.items():
        with written_whole(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="\n")


def corrections(mode: Mode) -> Grid:
    """Return the differences from the official code in this mode, with the reasons."""
    listed = [*REPAIRS, *(CORRECTIONS.values() if mode == "corrected" else ())]
    frame = pandas.DataFrame(listed).set_axis(["term", "official code", "here", "why"], axis=1)
    return Grid(f"What differs from the official code (mode: {mode})", frame)


def _results(table: Table) -> Grid:
    """Return the methods' means, each beside its row of the paper; Table 3 only where one of its methods is given."""
    here = _means(table, "", COLUMNS)
    here.frame.insert(1, "source", HERE)
    counts = table.scores.groupby("method")["picture"].nunique()
    here.frame.insert(2, "pictures", here.frame["method"].map(counts).astype(str))
    rows = [row for row in PAPER_ROWS if row.table != ABLATION or row.method in table.methods]
    texts = [
        [row.method, row.table, EMPTY, *(_number(one, row.values.get(one.name)) for one in COLUMNS)] for row in rows
    ]
    paper = pandas.DataFrame(texts, columns=here.frame.columns)
    order = list(dict.fromkeys([*paper["method"], *here.frame["method"]]))
    frame = pandas.concat([here.frame, paper], ignore_index=True)
    frame = frame.sort_values("method", key=lambda names: names.map(order.index), kind="stable")  # its own row first
    note = (
        "Mean over the images that have a score, with its 95 % t interval over garments; the best here is bold. "
        f"Table 2 and 3 are the paper's own numbers ({PAPER}). {CONDITIONS}"
    )
    if table.mode == "corrected":
        note += "CAMI is corrected here: for numbers like the paper's, use the mode published."
    else:
        note += "CAMI is computed as the official code does."
    return Grid(f"Results (mode: {table.mode})", frame, note, here.best)


def _by_method(table: Table, columns: Sequence[Column], text: Callable[[Column, Any], str]) -> Frame:
    """Return a row of texts for each method, each of a cell of :attr:`Table.cells`; EMPTY where there is no cell."""
    cells = {(cell["method"], cell["column"]): cell for cell in table.cells.to_dict("records")}
    rows = [
        [method, *(text(one, cells[method, one.name]) if (method, one.name) in cells else EMPTY for one in columns)]
        for method in table.methods
    ]
    return pandas.DataFrame(rows, columns=["method", *(one.heading for one in columns)])


def _means(table: Table, title: str, columns: Sequence[Column], note: str = "") -> Grid:
    best: set[tuple[int, str]] = set()
    for one in columns:
        means = table.cells[(table.cells["column"] == one.name) & table.cells["mean"].notna()]
        if len(means) > 1 and not means["note"].any():
            place = means["mean"].idxmax() if one.higher_is_better else means["mean"].idxmin()
            best.add((table.methods.index(str(means.loc[place, "method"])), one.heading))
    return Grid(title, _by_method(table, columns, _mean_text), note, frozenset(best))


def _common(table: Table, columns: Sequence[Column]) -> Grid:
    """Return the means over the images that every method has a score for, if that leaves any out."""
    if not (table.cells["pictures"] > table.cells["common_pictures"]).any():
        return Grid("", pandas.DataFrame())
    note = "A method that fails on difficult images loses them from its mean above, but not from this one."
    frame = _by_method(table, columns, _common_text)
    return Grid("Over the images that all methods have a score for", frame, note)


def _differences(table: Table, title: str, columns: Sequence[Column]) -> Grid:
    frame = _by_method(table, columns, _difference_text)
    compared = (frame["method"] != table.reference) & (frame.drop(columns="method") != EMPTY).any(axis=1)
    note = (
        "Over the pictures that both have a score for, as means of garments, with the paired 95 % t interval; p is "
        "two-sided, of a paired permutation test; Holm is the same, corrected for the number of tests in this report."
    )
    return Grid(title, frame[compared], note)


def _gaps(table: Table) -> Grid:
    empty = table.cells[table.cells["mean"].isna()]
    rows = [[one.method, HERE, one.column, one.reason] for one in empty.itertuples()]
    for row in PAPER_ROWS:
        if row.method in table.methods:
            rows += [[row.method, row.table, name, reason] for name, reason in row.gaps.items()]
    return Grid("Why a cell is empty", pandas.DataFrame(rows, columns=["method", "source", "column", "reason"]))


def _failures(table: Table) -> Grid:
    """Return by method, terms and reason the number of pairs without a score, and the first of them."""
    pairs = table.missing.groupby(["method", "picture", "reason", "detail"], sort=False)["column"].agg(", ".join)
    pairs = pairs.reset_index(name="terms")
    pairs["first"] = pairs["picture"] + pairs["detail"].map(lambda detail: f" ({detail})" if detail else "")
    by_reason = pairs.groupby(["method", "terms", "reason"], sort=False)["first"]
    counts = by_reason.agg(**{"pairs": "size", "first of them": "first"}).reset_index().astype(str)
    return Grid("Pairs without a score", counts, "They count in no mean.")


def _unmasked(table: Table) -> Grid:
    own = table.scores[(table.scores["column"] == "structure") & (table.scores["masks"] != MASKED)]
    counts = own.groupby(["method", "masks"], sort=False).size().reset_index(name="pairs").astype(str)
    note = "There the whole image was compared, its background too."
    return Grid("Pairs without a mask", counts.rename(columns={"masks": "masks given"}), note)


def _mean_text(column: Column, cell: Any) -> str:
    if not pandas.notna(cell["mean"]):
        return EMPTY
    text = _number(column, cell["mean"])
    if pandas.notna(cell["low"]):
        text += f" [{_number(column, cell['low'])}, {_number(column, cell['high'])}]"
    if cell["pictures"] < cell["of"]:
        text += f" ({cell['pictures']} of {cell['of']})"
    return text + "".join(sign for sign in (UNMASKED, OTHER_SIZE) if sign in cell["note"])


def _common_text(column: Column, cell: Any) -> str:
    return f"{_number(column, cell['common_mean'])} ({cell['common_pictures']} pictures)"


def _difference_text(column: Column, cell: Any) -> str:
    if "not compared" in cell["note"]:
        return cell["note"].rpartition("; ")[2]
    if not pandas.notna(cell["difference"]):
        return EMPTY
    low, high = _number(column, cell["difference_low"]), _number(column, cell["difference_high"])
    sign = OTHER_SIZE if OTHER_SIZE in cell["note"] else ""
    return (
        f"{cell['difference']:+.3f} [{low}, {high}]{sign} "
        f"(p = {cell['p']:.4f}, Holm {cell['p_holm']:.4f}, {cell['garments']:.0f} garments)"
    )


def _number(column: Column, value: float | None) -> str:
    return f"{value:.{column.digits}f}" if pandas.notna(value) else EMPTY


def _table_csv(table: Table) -> Frame:
    rows = [
        {"method": row.method, "source": f"{PAPER}, {row.table}", "column": column.name,
         "mean": row.values.get(column.name), "reason": row.gaps.get(column.name, "")}
        for row in PAPER_ROWS
        for column in COLUMNS
    ]  # fmt: skip
    paper = pandas.DataFrame(rows, columns=["source", *CELL])
    return pandas.concat([table.cells.assign(source=HERE), paper.astype(table.cells.dtypes)])[
        ["method", "source", *CELL[1:]]
    ]


def _scores_csv(table: Table) -> Frame:
    keys = ["method", "picture", "garment", "masks", "size"]
    in_order = pandas.MultiIndex.from_frame(table.scores[keys].drop_duplicates())
    wide = table.scores.pivot(index=keys, columns="column", values="value")
    missing = table.missing
    details = missing["detail"].map(lambda detail: f": {detail}" if detail else "")
    reasons = missing.assign(reasons=missing["column"] + ": " + missing["reason"] + details)
    wide = wide.reindex(in_order, columns=[column.name for column in table.columns if column.terms])
    return wide.join(reasons.groupby(keys)["reasons"].agg("; ".join)).reset_index()


def _garments_csv(table: Table) -> Frame:
    means = table.scores.groupby(["garment", "method", "column"])["value"].mean().unstack("column")
    return means.reindex(columns=[column.name for column in table.columns if column.terms]).reset_index()
