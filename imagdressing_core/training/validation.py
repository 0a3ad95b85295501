"""Validation on pairs that are not trained on: their loss, and images to look at."""

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import default_collate

from ..on_diffusers.pipeline import denoise, images_from_pixels, official_scheduler
from ..on_diffusers.unet import GarmentInputs
from .config import Data, Dropout, Objective, TrainingConfig, Validation
from .data import cover, whole_pairs
from .model import Frozen, TrainingBatch, encoded, training_loss
from .pairs import TrainingPair
from .samples import SampleMaker

NOTHING_DROPPED = Dropout(image=0, text=0, both=0)


@dataclass(frozen=True)
class Validator:
    """The validation pairs with the same noise each time, so that only the weights make a difference."""

    config: Validation
    pairs: list[TrainingPair]
    batches: list[dict[str, Any]]
    data: Data

    @torch.no_grad()
    def loss(self, frozen: Frozen, garment: Any, null_clip: Tensor, objective: Objective, alphas: Tensor) -> float:
        """Return the mean loss over all pairs."""
        total = 0.0
        for samples in self.batches:
            batch = encoded(samples, frozen, null_clip)
            total += float(training_loss(frozen.unet, garment, batch, objective, alphas)) * len(batch.text)
        return total / len(self.pairs)

    @torch.no_grad()
    def image(self, frozen: Frozen, garment: Any, null_clip: Tensor) -> Image.Image:
        """Return rows of a garment, the person who wears it, and an image sampled from garment and caption."""
        rows: list[list[Image.Image]] = []
        negative: Tensor | None = None
        for pair, samples in zip(self.pairs[: self.config.pictures], self._single(), strict=False):
            batch = encoded(samples, frozen, null_clip)
            if negative is None:
                negative = encoded({**samples, "caption": [""]}, frozen, null_clip).text
            made = self._sample(frozen, garment, batch, negative)
            opened = [pair.garment.open(), pair.person.open()]
            size = self.data.width, self.data.height
            rows.append([*(cover(image, *size) for image in opened), *images_from_pixels(made)])
        return sheet(rows)

    def _single(self) -> list[dict[str, Any]]:
        return [
            {name: value[i : i + 1] for name, value in samples.items()}
            for samples in self.batches
            for i in range(len(samples["caption"]))
        ]

    def _sample(self, frozen: Frozen, garment: Any, batch: TrainingBatch, negative: Tensor) -> Tensor:
        mean = batch.garment.chunk(2, dim=1)[0] * batch.scaling
        dtype = frozen.unet.dtype
        latents = denoise(
            frozen.unet,
            batch.draws.noise.to(dtype),
            batch.text,
            negative,
            GarmentInputs(garment(mean, batch.clip_hidden)),
            official_scheduler(),
            self.config.steps,
            self.config.guidance,
        )
        return frozen.vae.decode(latents.to(frozen.vae.dtype) / batch.scaling).sample


def validator(config: TrainingConfig, maker: SampleMaker) -> Validator | None:
    """Return the validator that the configuration asks for, with its images read.

    Raises:
        IMAGDressingError: An entry is broken or an image cannot be read.
    """
    if config.validation is None:
        return None
    pairs = whole_pairs(config.data, config.validation.path)[: config.validation.pairs]
    quiet = SampleMaker(maker.data, NOTHING_DROPPED, maker.latent_shape, maker.seed + 1, maker.cache)
    samples = [quiet.sample(pair, position) for position, pair in enumerate(pairs)]
    of_size: dict[Any, list[int]] = {}
    for i, sample in enumerate(samples):
        of_size.setdefault(sample["person"].shape, []).append(i)
    size = config.run.batch
    chunks = [places[i : i + size] for places in of_size.values() for i in range(0, len(places), size)]
    pairs = [pairs[i] for chunk in chunks for i in chunk]
    batches = [default_collate([samples[i] for i in chunk]) for chunk in chunks]
    return Validator(config.validation, pairs, batches, config.data)


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Return rows of images on one sheet, all in the size of the first."""
    from diffusers.utils import make_image_grid  # pyright: ignore[reportPrivateImportUsage]

    size = rows[0][0].size
    return make_image_grid([ImageOps.pad(image, size) for row in rows for image in row], len(rows), len(rows[0]))
