"""The manifest, a table of the images to make and to score, and each method's folder of them."""

import csv
import difflib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from ..errors import IMAGDressingError, shown

MASKS, POSES = "masks", "poses"  # beside a method's images
MOST_PROBLEMS = 10
NO_HEADING = "(no heading)"


@dataclass(frozen=True)
class Case:
    """A row of the manifest: an image and the inputs that it is made from.

    Attributes:
        file_name: The name of the image in each method's folder, the column ``picture``. The other files may be
            anywhere.
        person: A photograph of somebody who wears the garment. No term of the paper compares with it.
    """

    file_name: str
    garment: Path
    garment_mask: Path | None = None
    pose: Path | None = None
    face: Path | None = None
    prompt: str | None = None
    person: Path | None = None

    @property
    def garment_id(self) -> str:
        """The garment, however the manifest spells its path."""
        return str(self.garment.resolve())


@dataclass(frozen=True)
class Method:
    """A method and the folder of its images, named as in the manifest.

    Folders ``masks`` and ``poses`` in it, where they are, hold a PNG of the same name for each image.
    """

    name: str
    folder: Path


@dataclass(frozen=True)
class PairFiles:
    """A method's image for a case."""

    method: Method
    case: Case

    def part(self, name: str) -> Path | str | None:
        """Return the file of that part of :class:`.scoring.PairContent`, or the prompt; None where none is given."""
        if name == "generated":
            return self.method.folder / self.case.file_name
        if name in ("generated_mask", "generated_pose"):
            folder = self.method.folder / (MASKS if name == "generated_mask" else POSES)
            return (folder / self.case.file_name).with_suffix(".png") if folder.is_dir() else None
        return getattr(self.case, name)


COLUMNS = ("picture", "garment", "garment_mask", "pose", "face", "prompt", "person")
FILES = ("garment", "garment_mask", "pose", "face", "person")


def read_manifest(path: Path) -> tuple[Case, ...]:
    """Read a CSV with a header, or a JSON list of objects; the columns are those of :class:`Case`.

    Paths are relative to the manifest.

    Raises:
        IMAGDressingError: it cannot be read, holds no image, or rows are wrong; the message names up to ten.
    """
    rows = _rows(path)
    if not rows:
        raise IMAGDressingError(f"{path} holds no image: there is nothing to evaluate.")
    require_known(path, sorted({column for row in rows for column in row}), COLUMNS)
    problems = [f"row {i}: {problem}" for i, row in enumerate(rows, 1) for problem in _problems(row)]
    require_none(f"{path}:", problems + _repeated(rows))
    return tuple(_case(row, path.parent) for row in rows)


def read_igpair(path: Path, root: Path) -> list[Case]:
    """Read IGPair's published JSON; an entry's person gives the face, and is the one whose pose can be drawn.

    Args:
        path: A list of {"image_file", "cloth_file", "text"}. Of several texts the first is the prompt.
        root: The folder that its paths are relative to.

    Raises:
        IMAGDressingError: it cannot be read.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        return [
            Case(f"{i:06d}.png", root / one["cloth_file"], face=person, prompt=_first(one["text"]), person=person)
            for i, one in enumerate(entries)
            if (person := root / one["image_file"])
        ]
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise IMAGDressingError(
            f"{path} cannot be read as IGPair's JSON, a list of objects with image_file, cloth_file and text: "
            f"{shown(repr(error))}."
        ) from error


def _first(text: str | Sequence[str]) -> str:
    first = text if isinstance(text, str) else text[0]
    if not isinstance(first, str):
        raise TypeError(f"the text {first!r} is none")
    return first


def cases_of_garments(folder: Path, prompts: Sequence[str]) -> list[Case]:
    """Return a case for each photograph in a folder and each prompt.

    Raises:
        IMAGDressingError: the folder holds no image.
    """
    images = sorted(path for path in folder.glob("*") if path.suffix.lower() in Image.registered_extensions())
    if not images:
        raise IMAGDressingError(f"{folder} holds no image of a garment.")
    stems = Counter(one.stem for one in images)
    names = [one.stem if stems[one.stem] == 1 else one.name.replace(".", "-") for one in images]
    both = zip(names, images, strict=True)
    return [Case(f"{name}-{i}.png", one, prompt=prompt) for name, one in both for i, prompt in enumerate(prompts)]


def write_manifest(cases: Sequence[Case], path: Path) -> None:
    """Write a CSV manifest, all paths of which are absolute."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for case in cases:
            values = [case.file_name, *(getattr(case, column) for column in COLUMNS[1:])]
            writer.writerow([value.resolve() if isinstance(value, Path) else value for value in values])


def csv_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV with a header; cells beyond it are under ``NO_HEADING``.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read.
        IMAGDressingError: two columns have one name, of which only the last would count.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey=NO_HEADING)
        for column, count in Counter(reader.fieldnames or ()).items():
            if count > 1:
                raise IMAGDressingError(f"{path} has the column {shown(column)!r} twice. Leave out all but one.")
        return list(reader)


def require_known(path: Path, found: Iterable[str], columns: Sequence[str]) -> None:
    """Raise IMAGDressingError if a column that was found in a table is none of ``columns``."""
    for column in found:
        if column == NO_HEADING:
            raise IMAGDressingError(
                f"{path} has rows with more cells than headings: a text that has a comma needs quotation marks."
            )
        if column not in columns:
            near = difflib.get_close_matches(column, columns, 1)
            hint = f" (is {near[0]!r} meant?)" if near else ""
            raise IMAGDressingError(
                f"{path} has the column {shown(column)!r}{hint}. The columns are {', '.join(columns)}."
            )


def require_none(heading: str, problems: Sequence[str]) -> None:
    """Raise IMAGDressingError if there are problems; the message names the first ten under the heading."""
    if problems:
        more = f"\n… and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise IMAGDressingError(f"{heading}\n" + "\n".join(problems[:MOST_PROBLEMS]) + more)


def parse_method(text: str) -> Method:
    """Read ``NAME=FOLDER``.

    Raises:
        IMAGDressingError: it is not of this form, or the folder is not there.
    """
    name, _, folder = text.partition("=")
    if not name.strip() or not folder:
        raise IMAGDressingError(
            f"{text!r} is no method: write NAME=FOLDER, for instance IP-Adapter=results/ip_adapter."
        )
    if not Path(folder).is_dir():
        raise IMAGDressingError(f"{name}: {folder} is no folder.")
    return Method(name.strip(), Path(folder))


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows, without blanks around their texts; None is ""."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".json"):
        raise IMAGDressingError(f"{path} is no manifest: its name ends neither in .csv nor in .json.")
    try:
        rows = csv_rows(path) if kind == ".csv" else json.loads(path.read_text(encoding="utf-8-sig"))
    except IMAGDressingError:
        raise
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise IMAGDressingError(f"{path} cannot be read as a manifest: {shown(error)}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise IMAGDressingError(f"{path} is no manifest: a JSON manifest is a list of objects, one for each image.")
    return [{column: _stripped(value) for column, value in row.items()} for row in rows]


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else "" if value is None else value


def _problems(row: dict[str, Any]) -> list[str]:
    wrong = [column for column, value in row.items() if not isinstance(value, str)]
    if wrong:
        return [f"{column} is not a text" for column in wrong]
    if any("\0" in value for value in row.values()):
        return ["a NUL is in no name of a file"]
    problems = [f"{column} is empty" for column in ("picture", "garment") if not row.get(column)]
    name = _picture(row)
    if not problems and not name.name:
        problems.append(f"picture {shown(row['picture'])!r} names no file")
    if name.is_absolute() or ".." in name.parts:
        problems.append(f"picture {shown(name)!r} leads out of the methods' folders; give a name relative to them")
    return problems


def _repeated(rows: list[dict[str, Any]]) -> list[str]:
    """Return the problems of pictures that are one file, or whose masks and poses, which are PNG files, would be."""
    first: dict[PurePosixPath, tuple[int, PurePosixPath, str]] = {}
    problems: list[str] = []
    for i, row in enumerate(rows, 1):
        name = _picture(row)
        if not name.name:
            continue
        text = row["picture"]
        number, other, spelt = first.setdefault(name.parent / name.stem, (i, name, text))
        if number != i and name == other:
            also = "" if text == spelt else f", as {shown(spelt)!r}"
            problems.append(f"row {i}: picture {shown(text)!r} is in row {number} already{also}")
        elif number != i:
            mask = name.with_suffix(".png").as_posix()
            problems.append(
                f"row {i}: picture {shown(text)!r} would share its mask and pose, {shown(mask)}, with {shown(spelt)!r} "
                f"in row {number}; give them names that differ in more than the suffix"
            )
    return problems


def _picture(row: dict[str, Any]) -> PurePosixPath:
    """Return the name of a row's image, spelt in one way; without a name where there is none."""
    text = row.get("picture")
    return PurePosixPath(text.replace("\\", "/") if isinstance(text, str) else "")


def _case(row: dict[str, str], folder: Path) -> Case:
    files = {column: folder / row[column] for column in FILES if row.get(column)}
    return Case(row["picture"], prompt=row.get("prompt") or None, **files)
