"""From the manifest to a method's folder: what each picture is made of, kept with it, and made only once."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from .. import __version__
from ..errors import IMAGDressingError
from ..files.storage import written_whole
from ..metrics.manifest import MOST_PROBLEMS, Case
from ..metrics.outcome import NoScore
from ..metrics.pictures import read_mask, read_picture

# The official scripts' (inference_IMAGdressing.py); every method gets them unless it published its own.
QUALITY = ", best quality, high quality"
NEGATIVE = "bare, naked, nude, undressed, monochrome, lowres, bad anatomy, worst quality, low quality"
WIDTH, HEIGHT, STEPS, GUIDANCE = 512, 640, 50, 7.5

Progress = Callable[[int, int], None]
"""Called with (pictures there, pictures in all)."""


@dataclass(frozen=True)
class Order:
    """What a picture is made from: files, a prompt and a seed."""

    garment: Path
    garment_mask: Path | None
    prompt: str
    seed: int

    @property
    def text(self) -> str:
        return self.prompt + QUALITY


class Recipe(Protocol):
    """A method, loaded. settings, weights, versions: all that a picture depends on besides its order, as JSON."""

    @property
    def name(self) -> str: ...
    @property
    def needs_mask(self) -> bool: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def weights(self) -> Mapping[str, str]: ...
    @property
    def versions(self) -> Mapping[str, str]: ...

    def picture(self, order: Order) -> Image.Image: ...


def seed_of(garment: str, prompt: str) -> int:
    """Return the seed of a garment and a prompt: the same for every method, on every machine. 0 … 2³² − 1."""
    return zlib.crc32(f"{garment}\n{prompt}".encode())


def orders(cases: Sequence[Case], needs_mask: bool) -> list[Order]:
    """Return the order of each row of the manifest.

    Raises:
        IMAGDressingError: rows lack a prompt, or a garment or mask that can be read; the message names up to ten.
    """
    problems = [f"row {i}: {problem}" for i, case in enumerate(cases, 1) if (problem := _problem(case, needs_mask))]
    if problems:
        more = f"\n… and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise IMAGDressingError("No picture was made.\n" + "\n".join(problems[:MOST_PROBLEMS]) + more)
    return [
        Order(case.garment, case.garment_mask, prompt, seed_of(case.garment.name, prompt))
        for case in cases
        if (prompt := case.prompt) is not None
    ]


def _problem(case: Case, needs_mask: bool) -> str | None:
    if not case.prompt:
        return "prompt is empty"
    if Path(case.picture).suffix.lower() not in Image.registered_extensions():
        return f"picture {case.picture!r} ends in no picture format; give a name such as {case.picture}.png"
    if needs_mask and case.garment_mask is None:
        return "garment_mask is empty, and this method needs it"
    try:
        read_picture(case.garment)
        if needs_mask and case.garment_mask is not None and not read_mask(case.garment_mask).any():
            return f"garment_mask {case.garment_mask} marks nothing"
    except NoScore as reason:
        return str(reason)
    return None


def provenance(recipe: Recipe, order: Order) -> dict[str, Any]:
    """Return all that a picture depends on, as JSON."""
    return {
        "method": recipe.name,
        "garment": order.garment.name,
        "garment_mask": order.garment_mask.name if order.garment_mask and recipe.needs_mask else None,
        "prompt": order.prompt,
        "seed": order.seed,
        "settings": dict(recipe.settings),
        "weights": dict(recipe.weights),
        "versions": {"imagdressing": __version__, **recipe.versions},
    }


def generate(cases: Sequence[Case], recipe: Recipe, folder: Path, progress: Progress) -> int:
    """Make the pictures that are not there yet, each with its provenance beside it; return how many were made.

    Raises:
        IMAGDressingError: a row is wrong (nothing is made then); a picture cannot be made, or one that is there was
            made in another way. Pictures made before that stay.
    """
    made = 0
    for i, (case, order) in enumerate(zip(cases, orders(cases, recipe.needs_mask), strict=True)):
        progress(i, len(cases))
        path = folder / case.picture
        made_from = provenance(recipe, order)
        if path.is_file():
            _require_same(path, made_from)
        else:
            _keep(recipe.picture(order), made_from, path)
            made += 1
    progress(len(cases), len(cases))
    return made


def provenance_path(picture: Path) -> Path:
    return picture.with_name(picture.name + ".json")


def _keep(picture: Image.Image, made_from: dict[str, Any], path: Path) -> None:
    """Write the provenance, then the picture whole: where a picture is, so is what it was made from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    provenance_path(path).write_text(json.dumps(made_from, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with written_whole(path) as unfinished:
        picture.save(unfinished, format=Image.registered_extensions()[path.suffix.lower()])


def _require_same(picture: Path, made_from: dict[str, Any]) -> None:
    beside = provenance_path(picture)
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise IMAGDressingError(
            f"{picture} is there without {beside.name}, so this command did not make it. "
            "Move it, or choose another folder."
        )
    different = [key for key in made_from if found.get(key) != made_from[key]]
    if different:
        key = different[0]
        raise IMAGDressingError(
            f"{picture} was made with other {', '.join(different)} ({key}: {_short(found.get(key))}, "
            f"now {_short(made_from[key])}). Move the old pictures, or choose another folder."
        )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
