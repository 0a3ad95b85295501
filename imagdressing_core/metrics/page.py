"""The report as HTML pages: the tables, then garments and images side by side. The pages need no other file."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ImageOps

from ..errors import packages
from .images import open_image
from .manifest import Case, PairFiles
from .outcome import NoScore
from .report import Grid
from .table import Frame, Table

with packages("The report"):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

THUMBNAIL = (240, 300)
CASES_PER_PAGE = 100


def pages(
    table: Table, pairs: Sequence[PairFiles], grids: Sequence[Grid], origin: Mapping[str, str], images: int
) -> dict[str, str]:
    """Return the pages by file name: ``report.html`` with all tables and the first images, ``report-2.html`` …

    Args:
        grids: The tables, the last of which stands at the end of the page.
        images: The number of manifest rows whose images are shown.
    """
    by_case: dict[Case, list[PairFiles]] = {}
    for one in pairs:
        by_case.setdefault(one.case, []).append(one)
    cases = list(by_case)[:images]
    scores = dict(list(table.scores.groupby(["method", "picture"], sort=False)))
    starts = range(0, max(len(cases), 1), CASES_PER_PAGE)
    names = ["report.html", *(f"report-{i + 2}.html" for i in range(len(starts) - 1))]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("report.html")
    return {
        name: template.render(
            mode=table.mode,
            grids=grids if start == 0 else (),
            names=names,
            name=name,
            origin=origin,
            cases=[_shown_case(case, by_case[case], scores) for case in cases[start : start + CASES_PER_PAGE]],
            left_out=len(by_case) - len(cases),
        )
        for name, start in zip(names, starts, strict=True)
    }


def _shown_case(case: Case, pairs: Sequence[PairFiles], scores: Mapping[Any, Frame]) -> Mapping[str, object]:
    images = [_shown(one, scores[one.method.name, case.file_name]) for one in pairs]
    return {"case": case, "garment": _thumbnail(case.garment), "images": images}


def _shown(files: PairFiles, scores: Frame) -> Mapping[str, object]:
    found = scores[scores["value"].notna()]
    path, mask = files.part("generated"), files.part("generated_mask")
    return {
        "method": files.method.name,
        "image": _thumbnail(path) if isinstance(path, Path) else None,
        "mask": _thumbnail(mask) if isinstance(mask, Path) else None,
        "numbers": [(name, f"{value:.3f}") for name, value in zip(found["column"], found["value"], strict=True)],
        "reasons": list(dict.fromkeys(scores[scores["value"].isna()]["reason"])),
    }


def _thumbnail(path: Path) -> str | None:
    """Return a small copy of an image as a data URI; None where it cannot be read."""
    try:
        image = open_image(path)
    except NoScore:
        return None
    file = io.BytesIO()
    ImageOps.contain(image, THUMBNAIL).save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
