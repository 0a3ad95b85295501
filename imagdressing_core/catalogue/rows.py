"""The images of a catalogue as a table, one row each: the inputs, and the file that their digest names."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import IMAGDressingError, first_line, packages, shown
from ..metrics.manifest import csv_rows, require_known
from ..metrics.provenance import file_digest, text_digest

with packages("A catalogue", "cluster"):
    import pandas

COLUMNS = ("garment", "prompt", "pose", "seed")
Frame: TypeAlias = Any  # pandas.DataFrame
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Row:
    """An image to make: files, which every machine finds at these paths, a prompt, a seed and the image's own file."""

    garment: Path
    prompt: str
    pose: Path | None
    seed: int
    image: Path


@dataclass(frozen=True)
class Catalogue:
    """The catalogue's images.

    Attributes:
        table: The columns of the manifest and of the lists, ``image`` and ``problem``: the reason why a row cannot be
            made, or "".
        rows: By the name of its file, each image that can be made; equal rows are one image.
    """

    table: Frame
    rows: Mapping[str, Row]

    def by_garment(self) -> list[list[Row]]:
        """Return the rows of each garment, which is encoded once for all of them."""
        frame = self.table[self.table["problem"] == ""].drop_duplicates("image")
        return [[self.rows[name] for name in of["image"]] for _, of in frame.groupby("garment_digest", sort=False)]


def read_catalogue(
    manifest: Path, folder: Path, recipe: Mapping[str, Any], lists: Mapping[str, Sequence[str]]
) -> Catalogue:
    """Read the manifest, a CSV with some of the columns ``garment, prompt, pose, seed``, and multiply it by lists.

    Args:
        manifest: Paths in it are relative to it.
        folder: The folder of the images.
        recipe: Everything that an image depends on besides its row.
        lists: By column, the values of what the manifest leaves out: each row is made with each of them.

    Raises:
        IMAGDressingError: The manifest cannot be read, lacks a column, has another one or one that is a list too.
    """
    table = _read(manifest)
    _require_columns(manifest, table.columns, lists)
    for column, values in lists.items():
        table = table.merge(pandas.DataFrame({column: list(values)}), how="cross")
    for column, default in {"pose": "", "seed": "42"}.items():
        if column not in table:
            table[column] = default
    table = table[list(COLUMNS)].apply(lambda column: column.str.strip())
    digest = cache(lambda path: file_digest(Path(path)) or "" if path else "")
    for column in ("garment", "pose"):
        table[column] = [str((manifest.parent / path).resolve()) if path else "" for path in table[column]]
        table[f"{column}_digest"] = [digest(path) for path in table[column]]
    table["problem"] = [_problem(row, "controlnet" in recipe["weights"]) for row in table.to_dict("records")]
    table["image"] = [_file_name(row, recipe) if not row["problem"] else "" for row in table.to_dict("records")]
    whole = table[table["problem"] == ""].to_dict("records")
    return Catalogue(table, {row["image"]: _row(row, folder) for row in whole})


def _read(manifest: Path) -> Frame:
    try:
        rows = csv_rows(manifest)
    except (OSError, ValueError, csv.Error) as error:
        raise IMAGDressingError(f"{manifest} cannot be read as a CSV: {first_line(error)}.") from error
    if not rows:
        raise IMAGDressingError(f"{manifest} has no rows: there is nothing to make.")
    return pandas.DataFrame(rows).fillna("")


def _require_columns(manifest: Path, found: Sequence[str], lists: Mapping[str, Sequence[str]]) -> None:
    require_known(manifest, found, COLUMNS)
    twice = [column for column in lists if column in found]
    if twice:
        raise IMAGDressingError(
            f"{manifest} has the column {twice[0]!r} and --{twice[0]}s lists more: leave out one of the two."
        )
    missing = [column for column in ("garment", "prompt") if column not in found and column not in lists]
    if missing:
        raise IMAGDressingError(f"{manifest} has no column {missing[0]!r}. The columns are {', '.join(COLUMNS)}.")


def _problem(row: Mapping[str, Any], has_controlnet: bool) -> str:
    """Return the reason why a row cannot be made, as far as it shows without decoding images; "" if there is none."""
    for column in ("garment", "prompt"):
        if not row[column]:
            return f"{column} is empty"
    for column in ("garment", "pose"):
        if row[column] and not row[f"{column}_digest"]:
            return f"{column}: missing or unreadable file ({row[column]})"
    if row["pose"] and not has_controlnet:
        return "pose: no --controlnet is given to follow it"
    if not (row["seed"].isascii() and row["seed"].isdigit() and int(row["seed"]) <= LARGEST_SEED):
        return f"seed {shown(row['seed'])!r} is no whole number from 0 to {LARGEST_SEED}"
    return ""


def _file_name(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """Return a name that tells apart all images that may differ, wherever their files lie."""
    inputs = {column: row[column] for column in ("garment_digest", "prompt", "pose_digest")} | {
        "seed": int(row["seed"])
    }
    return text_digest(json.dumps([inputs, recipe], sort_keys=True)) + ".png"


def _row(row: Mapping[str, Any], folder: Path) -> Row:
    pose = Path(row["pose"]) if row["pose"] else None
    return Row(Path(row["garment"]), row["prompt"], pose, int(row["seed"]), folder / row["image"])
