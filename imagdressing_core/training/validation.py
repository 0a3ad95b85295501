"""Validation on pairs that are not trained on: their loss, and images to look at."""

from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import default_collate

from ..on_diffusers.pipeline import denoise, images_from_pixels, official_scheduler, text_embeddings
from ..on_diffusers.unet import GarmentInputs
from .config import Data, Dropout, Objective, TrainingConfig, Validation
from .data import cover, whole_pairs
from .model import Frozen, TrainingBatch, encoded, training_loss
from .pairs import TrainingPair
from .samples import Sample, SampleMaker

NOTHING_DROPPED = Dropout(image=0, text=0, both=0)


@dataclass(frozen=True)
class Validator:
    """The validation pairs with the same noise each time, so that only the weights make a difference.

    ``batches`` are pairs with their samples; those of a batch have one size.
    """

    config: Validation
    data: Data
    batches: list[list[tuple[TrainingPair, Sample]]]

    @torch.no_grad()
    def loss(self, frozen: Frozen, garment: Any, null_clip: Tensor, objective: Objective, alphas: Tensor) -> float:
        """Return the mean loss over all pairs."""
        total = 0.0
        for pairs in self.batches:
            batch = encoded(default_collate([sample for _, sample in pairs]), frozen, null_clip)
            total += float(training_loss(frozen.unet, garment, batch, objective, alphas)) * len(pairs)
        return total / sum(len(pairs) for pairs in self.batches)

    @torch.no_grad()
    def image(self, frozen: Frozen, garment: Any, null_clip: Tensor) -> Image.Image:
        """Return rows of a garment, the person who wears it, and an image sampled from garment and caption."""
        rows: list[list[Image.Image]] = []
        negative = text_embeddings(frozen.text_encoder, frozen.tokenizer, [""], frozen.unet.device)
        for pair, sample in islice(chain.from_iterable(self.batches), self.config.pictures):
            made = self._sample(frozen, garment, encoded(default_collate([sample]), frozen, null_clip), negative)
            opened = [pair.garment.open(), pair.person.open()]
            size = self.data.width, self.data.height
            rows.append([*(cover(image, *size) for image in opened), *images_from_pixels(made)])
        return sheet(rows)

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
    pairs = whole_pairs(replace(config.data, path=config.validation.path))[: config.validation.pairs]
    quiet = SampleMaker(maker.data, NOTHING_DROPPED, maker.latent_shape, maker.seed + 1, maker.cache)
    of_size: dict[Any, list[tuple[TrainingPair, Sample]]] = {}
    for position, pair in enumerate(pairs):
        sample = quiet.sample(pair, position)
        of_size.setdefault(sample["person"].shape, []).append((pair, sample))
    size = config.run.batch
    batches = [alike[i : i + size] for alike in of_size.values() for i in range(0, len(alike), size)]
    return Validator(config.validation, config.data, batches)


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Return rows of images on one sheet, all in the size of the first."""
    from diffusers.utils import make_image_grid  # pyright: ignore[reportPrivateImportUsage]

    size = rows[0][0].size
    return make_image_grid([ImageOps.pad(image, size) for row in rows for image in row], len(rows), len(rows[0]))
