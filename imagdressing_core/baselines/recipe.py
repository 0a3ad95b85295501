"""From the manifest to a method's folder: each image is made once, and the inputs that made it are kept beside it."""

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..errors import IMAGDressingError, packages, shown
from ..files.storage import written_whole
from ..metrics.images import read_image, read_mask
from ..metrics.manifest import Case, require_none
from ..metrics.outcome import NoScore
from ..on_diffusers.finite import NotFinite
from ..on_diffusers.official import QUALITY_PROMPT

with packages("The baselines"):
    from tqdm import tqdm

PARTS = ("garment_mask", "pose", "face")


@dataclass(frozen=True)
class Order:
    """The inputs of one image: files, a prompt and a seed."""

    garment: Path
    garment_mask: Path | None
    prompt: str
    seed: int
    pose: Path | None = None
    face: Path | None = None

    @property
    def text(self) -> str:
        return self.prompt + QUALITY_PROMPT


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """A method with its models loaded.

    Attributes:
        settings, weights, versions: Everything that an image depends on besides its order, as JSON.
        needs: What it reads of a row besides garment and prompt, from ``PARTS``.
        batch: How many images it makes at once.
    """

    name: str
    settings: Mapping[str, Any]
    weights: Mapping[str, str]
    versions: Mapping[str, str]
    needs: Collection[str] = ()
    batch: int = 1

    @abstractmethod
    def images(self, orders: Sequence[Order]) -> list[Image.Image]: ...


def seed_of(garment: str, prompt: str) -> int:
    """Return the seed of a garment and a prompt: the same for every method, on every machine. 0 … 2³² − 1."""
    return zlib.crc32(f"{garment}\n{prompt}".encode())


def orders(cases: Sequence[Case], needs: Collection[str]) -> list[Order]:
    """Return the order of each row of the manifest.

    Raises:
        IMAGDressingError: rows lack a prompt, or a file that is needed and can be read; the message names up to ten.
    """
    problems = [f"{case.file_name}: {problem}" for case in cases if (problem := _problem(case, needs))]
    require_none("No image was made.", problems)
    return [
        Order(case.garment, case.garment_mask, prompt, seed_of(case.garment.name, prompt), case.pose, case.face)
        for case in cases
        if (prompt := case.prompt) is not None
    ]


def _problem(case: Case, needs: Collection[str]) -> str | None:
    if not case.prompt:
        return "prompt is empty"
    if Path(case.file_name).suffix.lower() not in Image.registered_extensions():
        return f"picture {case.file_name!r} ends in no image format; give a name such as {case.file_name}.png"
    try:
        read_image(case.garment)
        for part in needs:
            path: Path | None = getattr(case, part)
            if path is None:
                return f"{part} is empty, and this method needs it"
            if not (read_mask if part == "garment_mask" else read_image)(path).any():
                return f"{part} {path} marks nothing"
    except NoScore as reason:
        return str(reason)
    return None


def provenance(recipe: Recipe, order: Order) -> dict[str, Any]:
    """Return everything that an image depends on, as JSON."""
    return {
        "method": recipe.name,
        "garment": order.garment.name,
        **{part: path.name if part in recipe.needs and (path := getattr(order, part)) else None for part in PARTS},
        "prompt": order.prompt,
        "seed": order.seed,
        "settings": dict(recipe.settings),
        "weights": dict(recipe.weights),
        "versions": {"imagdressing": __version__, **recipe.versions},
    }


def generate(cases: Sequence[Case], recipe: Recipe, folder: Path) -> int:
    """Make the images that do not exist yet, each with its provenance beside it; return how many were made.

    A progress bar counts them.

    Raises:
        IMAGDressingError: a row is wrong, and nothing was made; or an image cannot be made, or an existing one was
            made in another way. Images made before that stay.
    """
    todo: list[tuple[Path, Order]] = []
    for case, order in zip(cases, orders(cases, recipe.needs), strict=True):
        path = folder / case.file_name
        if path.is_file():
            _require_same(path, provenance(recipe, order))
        else:
            todo.append((path, order))
    with tqdm(total=len(cases), initial=len(cases) - len(todo), unit=" images") as bar:
        for start in range(0, len(todo), recipe.batch):
            batch = todo[start : start + recipe.batch]
            try:
                images = recipe.images([order for _, order in batch])
            except NotFinite as reason:
                names = " or ".join(path.name for path, _ in batch)
                raise IMAGDressingError(f"{names} cannot be made: {reason}.") from reason
            for (path, order), image in zip(batch, images, strict=True):
                _keep(image, provenance(recipe, order), path)
            bar.update(len(batch))
    return len(todo)


def provenance_path(image: Path) -> Path:
    return image.with_name(image.name + ".json")


def _keep(image: Image.Image, made_from: dict[str, Any], path: Path) -> None:
    """Write the provenance, then the image as a whole file, so that no image is without its provenance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    provenance_path(path).write_text(json.dumps(made_from, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with written_whole(path) as unfinished:
        image.save(unfinished, format=Image.registered_extensions()[path.suffix.lower()])


def _require_same(image: Path, made_from: dict[str, Any]) -> None:
    beside = provenance_path(image)
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise IMAGDressingError(
            f"{image} exists without {beside.name}, so this command did not make it. Move it, or choose another folder."
        )
    different = [key for key in made_from if found.get(key) != made_from[key]]
    if different:
        key = different[0]
        before, now = (shown(json.dumps(one.get(key), ensure_ascii=False)) for one in (found, made_from))
        raise IMAGDressingError(
            f"{image} was made with other {', '.join(different)} ({key}: {before}, now {now}). Move the old images, or "
            "choose another folder."
        )
