"""IMAGDressing without ComfyUI: the same model on diffusers, several images at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ..errors import IMAGDressingError
from ..images.preprocess import OFFICIAL_HEIGHT, OFFICIAL_WIDTH
from ..metrics.images import open_image
from ..metrics.provenance import file_digest
from ..on_diffusers.loading import part_of
from ..on_diffusers.official import GUIDANCE, NEGATIVE_PROMPT, STEPS
from ..on_diffusers.pipeline import DressingPipeline, load_pipeline
from .pipelines import versions
from .recipe import Order, Recipe

SETTINGS = {
    "negative": NEGATIVE_PROMPT,
    "steps": STEPS,
    "guidance": GUIDANCE,
    "strength": 1.0,
    "width": OFFICIAL_WIDTH,
    "height": OFFICIAL_HEIGHT,
}


@dataclass(frozen=True, kw_only=True)
class DressingRecipe(Recipe):
    """IMAGDressing on one device, with the official constants."""

    pipeline: DressingPipeline

    def images(self, orders: Sequence[Order]) -> list[Image.Image]:
        size = {side: self.settings[side] for side in ("width", "height")}
        garments = self.pipeline.encode_garments([open_image(order.garment) for order in orders], **size)
        poses = [open_image(order.pose) for order in orders if order.pose] if "pose" in self.needs else None
        seeds = [order.seed for order in orders]
        return self.pipeline(garments, [order.text for order in orders], seed=seeds, poses=poses, **self.settings)


def imagdressing(
    base: Path,
    checkpoint: Path | None,
    image_encoder: Path | None,
    vae: Path | None = None,
    controlnet: Path | None = None,
    device: str = "cpu",
    batch: int = 1,
    tokenizer: Path | None = None,
) -> DressingRecipe:
    """IMAGDressing on diffusers. With a ControlNet the images follow the manifest's poses.

    Raises:
        IMAGDressingError: a model is not given, missing, damaged or holds something else.
    """
    if checkpoint is None or image_encoder is None:
        raise IMAGDressingError("--base runs IMAGDressing on diffusers: give --checkpoint and --image-encoder too.")
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    pipeline = load_pipeline(base, checkpoint, image_encoder, vae, device, dtype, controlnet, tokenizer)
    weights = {
        "base": base,
        "image_encoder": image_encoder,
        "vae": vae or part_of(base, "vae"),
        "controlnet": controlnet,
    }
    return DressingRecipe(
        name="IMAGDressing-v1",
        settings=SETTINGS,
        weights={name: str(path) for name, path in weights.items() if path is not None}
        | {"checkpoint": f"{checkpoint.name}, digest {file_digest(checkpoint)}"},
        versions=versions(),
        needs=[] if controlnet is None else ["pose"],
        batch=batch,
        pipeline=pipeline,
    )
