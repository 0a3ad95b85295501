"""Looking through a catalogue: a contact sheet for each garment, and one page of all images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps

from ..errors import packages
from ..files.storage import written_whole
from ..metrics.images import open_image
from ..metrics.outcome import NoScore
from ..metrics.provenance import text_digest
from .rows import Catalogue, Row

with packages("The page", "cluster"):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHEETS, PAGE = "sheets", "index.html"
CELL = (160, 200)  # pixels
ACROSS, DOWN = 8, 8
TEXT = 14  # pixels, below each cell


def write_page(catalogue: Catalogue, folder: Path) -> None:
    """Write the sheets that are not there yet, and the page with every row: its image, or why there is none."""
    garments: list[dict[str, Any]] = []
    for garment, rows in catalogue.table.groupby("garment", sort=False):
        made = [row for name in rows["image"].unique() if (row := catalogue.rows.get(name)) and row.image.is_file()]
        shown = rows.assign(pose=[Path(path).name for path in rows["pose"]])
        garments.append(
            {
                "name": Path(garment).name,
                "file": Path(os.path.relpath(garment, folder)).as_posix() if Path(garment).is_file() else "",
                "sheets": [sheet.relative_to(folder).as_posix() for sheet in _sheets(Path(garment), made, folder)],
                "rows": shown.to_dict("records"),
            }
        )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("page.html").render(garments=garments, count=len(catalogue.table))
    with written_whole(folder / PAGE) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _sheets(garment: Path, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Return the garment's sheets, named by what is on them, and draw those that are not there yet."""
    per_sheet = ACROSS * DOWN - 1  # the garment itself comes first
    paths: list[Path] = []
    for start in range(0, len(rows), per_sheet):
        part = rows[start : start + per_sheet]
        name = f"{garment.stem}-{text_digest(' '.join(row.image.name for row in part))[:12]}.jpg"
        paths.append(folder / SHEETS / name)
        if not paths[-1].is_file():
            with written_whole(paths[-1]) as unfinished:
                _sheet(garment, part).save(unfinished, format="JPEG", quality=88)
    return paths


def _sheet(garment: Path, rows: Sequence[Row]) -> Image.Image:
    cells = [(garment, garment.name), *((row.image, f"{row.seed} {row.prompt}") for row in rows)]
    across, down = min(len(cells), ACROSS), -(-len(cells) // ACROSS)
    sheet = Image.new("RGB", (across * CELL[0], down * (CELL[1] + TEXT)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (path, text) in enumerate(cells):
        corner = (i % ACROSS * CELL[0], i // ACROSS * (CELL[1] + TEXT))
        try:
            sheet.paste(ImageOps.pad(open_image(path), CELL, color="white"), corner)
        except NoScore:
            text = f"unreadable: {text}"
        letters = text.encode("latin-1", "replace").decode("latin-1")  # what Pillow's own font has
        draw.text((corner[0] + 2, corner[1] + CELL[1]), letters[:24], "black")
    return sheet
