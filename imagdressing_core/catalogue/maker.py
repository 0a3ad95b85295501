"""Making the images of one garment: it is encoded once, and each image is a whole file or none."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .. import __version__
from ..errors import IMAGDressingError
from ..files.storage import written_whole
from ..images.preprocess import OFFICIAL_HEIGHT, OFFICIAL_WIDTH
from ..metrics.images import open_image
from ..metrics.outcome import NoScore
from ..model.garment import LayerKV, is_usable
from ..on_diffusers.finite import NotFinite
from ..on_diffusers.loading import part_of
from ..on_diffusers.official import GUIDANCE, NEGATIVE_PROMPT, QUALITY_PROMPT, STEPS
from ..on_diffusers.pipeline import load_pipeline
from ..training.provenance import weights_digest
from .rows import Row

Done = tuple[str, str]
"""The name of an image's file, and the reason why it could not be made, "" if it was."""


@dataclass(frozen=True)
class Models:
    """Where the models lie, on every machine: as :func:`..on_diffusers.pipeline.load_pipeline` takes them."""

    base: Path
    checkpoint: Path
    image_encoder: Path
    vae: Path | None = None
    controlnet: Path | None = None
    tokenizer: Path | None = None

    def digests(self) -> dict[str, str]:
        """Return the sha256 of each model's weights by its name.

        Raises:
            IMAGDressingError: One of them is not there.
        """
        paths = {"checkpoint": self.checkpoint, "image_encoder": self.image_encoder, "controlnet": self.controlnet}
        paths |= {name: part_of(self.base, name) for name in ("unet", "text_encoder")}
        paths["vae"] = self.vae or part_of(self.base, "vae")
        missing = [str(path) for path in paths.values() if path is not None and not path.exists()]
        if missing:
            raise IMAGDressingError(f"{missing[0]} does not exist: models are read from local files and folders.")
        return {name: weights_digest(path) for name, path in paths.items() if path is not None}


@dataclass(frozen=True)
class Style:
    """What all images of a catalogue share. Sizes in pixels; strength: λ; guidance: w of Eq. 7."""

    width: int = OFFICIAL_WIDTH
    height: int = OFFICIAL_HEIGHT
    steps: int = STEPS
    guidance: float = GUIDANCE
    strength: float = 1.0
    fit: str = "official"
    negative: str = NEGATIVE_PROMPT
    dtype: str = "float32"


def recipe(models: Models, style: Style) -> dict[str, Any]:
    """Return everything that an image depends on besides its row, as JSON."""
    return {"style": asdict(style), "weights": models.digests()}


class Maker:
    """The models on one device.

    Raises:
        IMAGDressingError: A model is missing or damaged.
    """

    def __init__(self, models: Models, style: Style, device: str, batch: int = 1) -> None:
        import torch

        self._pipeline = load_pipeline(**vars(models), device=device, dtype=getattr(torch, style.dtype))
        self._style, self._batch = style, batch
        self._made_by = {"version": __version__, **recipe(models, style)}

    def make(self, rows: Sequence[Row]) -> Iterator[Done]:
        """Make those images of one garment that are not there yet; yield each row as soon as it is done."""
        todo = [row for row in rows if not row.image.is_file()]
        yield from ((row.image.name, "") for row in rows if row.image.is_file())
        if not todo:
            return
        try:
            layers = self._encode(todo[0].garment)
        except (IMAGDressingError, NoScore) as reason:
            yield from ((row.image.name, f"garment: {reason}") for row in todo)
            return
        for with_pose in (False, True):
            same = [row for row in todo if (row.pose is not None) == with_pose]
            for start in range(0, len(same), self._batch):
                yield from self._make(layers, same[start : start + self._batch])

    def _encode(self, garment: Path) -> Mapping[int, LayerKV]:
        image = open_image(garment)
        layers = self._pipeline.encode_garments([image], self._style.fit, self._style.width, self._style.height)
        if not all(is_usable(tensor) for layer in layers.values() for tensor in layer.tensors.values()):
            raise IMAGDressingError("encoding it gave NaN, infinite values or larger ones than fp16 holds")
        return layers

    def _make(self, layers: Mapping[int, LayerKV], rows: Sequence[Row]) -> Iterator[Done]:
        poses: dict[str, Image.Image] = {}
        for row in rows:
            try:
                if row.pose is not None:
                    poses[row.image.name] = open_image(row.pose)
            except NoScore as reason:
                yield row.image.name, f"pose: {reason}"
        rows = [row for row in rows if row.pose is None or row.image.name in poses]
        if not rows:
            return
        style = self._style
        try:
            images = self._pipeline(
                layers,
                [row.prompt + QUALITY_PROMPT for row in rows],
                negative=style.negative,
                guidance=style.guidance,
                strength=style.strength,
                steps=style.steps,
                width=style.width,
                height=style.height,
                seed=[row.seed for row in rows],
                poses=[poses[row.image.name] for row in rows] if poses else None,
            )
        except NotFinite as reason:
            if len(rows) == 1:
                yield rows[0].image.name, str(reason)
            else:  # it may be one of them
                for row in rows:
                    yield from self._make(layers, [row])
            return
        for row, image in zip(rows, images, strict=True):
            self._save(row, image)
            yield row.image.name, ""

    def _save(self, row: Row, image: Image.Image) -> None:
        inputs = {"garment": row.garment.name, "prompt": row.prompt, "seed": row.seed}
        pose = {} if row.pose is None else {"pose": row.pose.name}
        said = PngInfo()
        said.add_text("imagdressing", json.dumps(inputs | pose | self._made_by))
        with written_whole(row.image) as unfinished:
            image.save(unfinished, format="PNG", pnginfo=said)
