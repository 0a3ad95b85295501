"""The result table as files: Markdown, CSV, LaTeX, and one HTML page with the images side by side."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from ..errors import packages
from .images import read_image
from .outcome import NoScore
from .paper import COLUMNS, CORRECTIONS, PAPER, PAPER_ROWS, REPAIRS, Column, Mode
from .scoring import MASKS
from .table import TERM_COLUMNS, Cell, Scored, Table, by_garment

with packages("The report"):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from tabulate import tabulate

EMPTY = "–"
WIDEST = 36  # characters of a column in a terminal
THUMBNAIL = (240, 300)
LATEX_SIGNS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "−": "$-$", "λ": r"$\lambda$"}


@dataclass(frozen=True)
class Grid:
    """A table of texts. title: its heading; note: what must be known to read it."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def grids(table: Table, mode: Mode) -> list[Grid]:
    """Return the tables of a report, the result table first; those without rows are left out."""
    found = (
        _results(table, mode),
        _differences(table),
        _terms(table),
        _gaps(table),
        _failures(table),
        _unmasked(table),
        _garments(table),
        corrections(mode),
    )
    return [grid for grid in found if grid.rows]


def markdown(grid: Grid) -> str:
    """Return a table in GitHub's Markdown."""
    rows = [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in grid.rows]
    return tabulate(rows, grid.headings, tablefmt="github", disable_numparse=True)


def wrapped(grid: Grid) -> str:
    """Return a table of long texts for a terminal."""
    return tabulate(grid.rows, grid.headings, tablefmt="simple_grid", maxcolwidths=WIDEST, disable_numparse=True)


def latex(grid: Grid) -> str:
    """Return a table in LaTeX, for the package booktabs."""
    text = tabulate(grid.rows, grid.headings, tablefmt="latex_booktabs", disable_numparse=True)
    for sign, code in LATEX_SIGNS.items():
        text = text.replace(sign, code)
    return text


def write_report(table: Table, mode: Mode, folder: Path, most_images: int) -> None:
    """Write ``table.md``, ``table.tex``, ``table.csv``, ``scores.csv``, ``garments.csv`` and ``report.html``.

    most_images: of how many rows of the manifest the page shows the images.
    """
    all_grids = grids(table, mode)
    sections = (f"## {grid.title}\n\n{grid.note}\n\n{markdown(grid)}\n" for grid in all_grids)
    texts = {
        "table.md": "\n".join(sections),
        "table.tex": latex(all_grids[0]) + "\n",
        "table.csv": _csv(_table_records(table)),
        "scores.csv": _csv(_score_records(table.scored)),
        "garments.csv": _csv(_garment_records(table.scored)),
        "report.html": _page(table, all_grids, mode, most_images),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def corrections(mode: Mode) -> Grid:
    """Return what the official code does, what this mode does instead, and why."""
    listed = [*REPAIRS, *(CORRECTIONS.values() if mode == "corrected" else ())]
    return Grid(
        f"What differs from the official code (mode: {mode})",
        ("term", "official code", "here", "why"),
        [(one.term, one.official, one.corrected, one.reason) for one in listed],
    )


def _results(table: Table, mode: Mode) -> Grid:
    rows: list[Sequence[str]] = []
    for row in table.rows:
        cells = [_cell_text(column, row.cells[column.name], row.images) for column in COLUMNS]
        rows.append((row.method, "here", f"{row.images}" if row.images else EMPTY, *cells))
        if row.paper is not None:
            values = [_number(column, row.paper.values.get(column.name)) for column in COLUMNS]
            rows.append((row.method, row.paper.table, EMPTY, *values))
    note = (
        f"Mean over the images that have a score, with its 95 % bootstrap interval over garments. Table 2 and 3 are "
        f"the paper's own numbers ({PAPER}). "
    )
    if mode == "corrected":
        note += "CAMI is corrected here: for numbers like the paper's, use the mode published."
    else:
        note += "CAMI is computed as the official code does."
    headings = ("method", "source", "pictures", *(column.heading for column in COLUMNS))
    return Grid(f"Results (mode: {mode})", headings, rows, note)


def _differences(table: Table) -> Grid:
    rows = []
    for row in table.rows:
        found = {name: cell.difference for name, cell in row.cells.items() if cell.difference is not None}
        if found:
            texts = [
                f"{one.value:+.3f} (p = {one.p:.4f}, {one.garments} garments)" if one else EMPTY
                for one in (found.get(column.name) for column in COLUMNS)
            ]
            rows.append((row.method, *texts))
    return Grid(
        f"Difference from {table.reference}",
        ("method", *(column.heading for column in COLUMNS)),
        rows,
        "Over the images that both have a score for, as means of garments; p is two-sided, of a paired permutation "
        "test, not corrected for the number of tests.",
    )


def _terms(table: Table) -> Grid:
    columns = _term_columns(table)
    rows = [
        (row.method, *(_cell_text(column, row.cells[column.name], row.images) for column in columns))
        for row in table.terms
    ]
    return Grid("Terms", ("method", *(column.heading for column in columns)), rows if columns else [])


def _term_columns(table: Table) -> list[Column]:
    asked = {name for row in table.terms for name in row.cells}
    return [column for column in TERM_COLUMNS if column.name in asked]


def _gaps(table: Table) -> Grid:
    columns: dict[tuple[str, str, str], list[str]] = {}
    for row in table.rows:
        for name, cell in row.cells.items():
            if cell.mean is None:
                columns.setdefault((row.method, "here", cell.reason), []).append(name)
    for row in PAPER_ROWS:
        for name, reason in row.gaps.items():
            columns.setdefault((row.method, row.table, reason), []).append(name)
    rows = [(method, source, ", ".join(names), reason) for (method, source, reason), names in columns.items()]
    return Grid("Why a cell is empty", ("method", "source", "columns", "reason"), rows)


def _failures(table: Table) -> Grid:
    return Grid(
        "Pairs without a score",
        ("method", "terms", "reason", "pairs", "first of them"),
        [(one.method, ", ".join(one.terms), one.reason, str(one.count), one.first) for one in table.failures],
        "They count in no mean.",
    )


def _unmasked(table: Table) -> Grid:
    missing: dict[tuple[str, str], int] = {}
    for one in table.scored:
        for part in MASKS if "structure" in one.scores else ():
            if one.files.part(part) is None:
                group = one.files.method.name, part.replace("_", " ")
                missing[group] = missing.get(group, 0) + 1
    rows = [(method, part, str(count)) for (method, part), count in missing.items()]
    note = "There the whole image was compared, its background too."
    return Grid("Pairs without a mask", ("method", "mask", "pairs"), rows, note)


def _garments(table: Table) -> Grid:
    means = by_garment(table.scored)
    columns = [column for column in COLUMNS if any(column.name in cells for cells in means.values())]
    rows = [
        (garment.name, method, *(_number(column, cells.get(column.name)) for column in columns))
        for (garment, method), cells in means.items()
    ]
    return Grid("Garments", ("garment", "method", *(column.heading for column in columns)), rows if columns else [])


def _cell_text(column: Column, cell: Cell, images: int) -> str:
    if cell.mean is None:
        return EMPTY
    text = _number(column, cell.mean.value)
    if cell.mean.interval is not None:
        text += f" [{', '.join(_number(column, end) for end in cell.mean.interval)}]"
    if cell.mean.count < images:
        text += f" ({cell.mean.count} of {images})"
    return text


def _number(column: Column, value: float | None) -> str:
    digits = 4 if column.name in ("MP-LPIPS", "mp_lpips") else 3  # as in the paper
    return EMPTY if value is None else f"{value:.{digits}f}"


def _table_records(table: Table) -> Iterable[Mapping[str, object]]:
    for row in (*table.rows, *table.terms):
        for name, cell in row.cells.items():
            yield {"method": row.method, "source": "here", "column": name, **_cell_record(cell)}
    for row in PAPER_ROWS:
        source = f"{PAPER}, {row.table}"
        for name, value in row.values.items():
            yield {"method": row.method, "source": source, "column": name, "mean": value}
        for name, reason in row.gaps.items():
            yield {"method": row.method, "source": source, "column": name, "reason": reason}


def _cell_record(cell: Cell) -> Mapping[str, object]:
    record: dict[str, object] = {"reason": cell.reason}
    if cell.mean is not None:
        low, high = cell.mean.interval or ("", "")
        record |= {"mean": cell.mean.value, "low": low, "high": high, "pictures": cell.mean.count}
    if cell.difference is not None:
        record |= {"difference": cell.difference.value, "p": cell.difference.p, "garments": cell.difference.garments}
    return record


def _score_records(scored: Sequence[Scored]) -> Iterable[Mapping[str, object]]:
    for one in scored:
        record: dict[str, object] = {"method": one.files.method.name, "picture": one.image}
        record["garment"] = str(one.garment)
        outcomes = one.scores | {column.name: one.outcome(column) for column in COLUMNS[2:]}
        record |= {name: "" if isinstance(value, NoScore) else value for name, value in outcomes.items()}
        reasons = (f"{name}: {value}" for name, value in one.scores.items() if isinstance(value, NoScore))
        yield record | {"reasons": "; ".join(reasons)}


def _garment_records(scored: Sequence[Scored]) -> Iterable[Mapping[str, object]]:
    for (garment, method), means in by_garment(scored).items():
        yield {"garment": str(garment), "method": method, **means}


def _csv(records: Iterable[Mapping[str, object]]) -> str:
    rows = list(records)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _page(table: Table, all_grids: Sequence[Grid], mode: Mode, most_images: int) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    cases = list(dict.fromkeys(one.files.case for one in table.scored))
    return environment.get_template("report.html").render(
        mode=mode,
        grids=all_grids,
        cases=[
            {
                "case": case,
                "garment": _thumbnail(case.garment),
                "images": [_shown(one) for one in table.scored if one.files.case == case],
            }
            for case in cases[:most_images]
        ],
        left_out=max(0, len(cases) - most_images),
    )


def _shown(one: Scored) -> Mapping[str, object]:
    outcomes = one.scores | {column.name: one.outcome(column) for column in COLUMNS[2:]}
    numbers = [(name, f"{value:.3f}") for name, value in outcomes.items() if not isinstance(value, NoScore)]
    reasons = dict.fromkeys(value.reason for value in one.scores.values() if isinstance(value, NoScore))
    path = one.files.part("generated")
    return {
        "method": one.files.method.name,
        "image": _thumbnail(path) if isinstance(path, Path) else None,
        "numbers": numbers,
        "reasons": list(reasons),
    }


def _thumbnail(path: Path) -> str | None:
    """Return a small copy of an image as a data URI; None where it cannot be read."""
    try:
        image = Image.fromarray(read_image(path))
    except NoScore:
        return None
    file = io.BytesIO()
    ImageOps.contain(image, THUMBNAIL).save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
