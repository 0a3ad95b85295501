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
from .model import Frozen, encoded, training_loss
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
    def loss(self, frozen: Frozen, garment: Any, objective: Objective, alphas: Tensor) -> float:
        """Return the mean loss over all pairs."""
        total = 0.0
        for pairs in self.batches:
            batch = encoded(default_collate([sample for _, sample in pairs]), frozen)
            total += float(training_loss(frozen.unet, garment, batch, objective, alphas)) * len(pairs)
        return total / sum(len(pairs) for pairs in self.batches)

    @torch.no_grad()
    def image(self, frozen: Frozen, garment: Any) -> Image.Image:
        """Return rows of a garment, the person who wears it, and an image sampled from garment and caption."""
        from diffusers.utils import make_image_grid  # pyright: ignore[reportPrivateImportUsage]

        size = self.data.width, self.data.height
        images: list[Image.Image] = []
        negative = text_embeddings(frozen.text_encoder, frozen.tokenizer, [""], frozen.unet.device)
        for pair, sample in islice(chain.from_iterable(self.batches), self.config.pictures):
            batch = encoded(default_collate([sample]), frozen)
            mean = batch.garment.chunk(2, dim=1)[0] * batch.scaling
            latents = denoise(
                frozen.unet,
                batch.draws.noise.to(frozen.unet.dtype),
                batch.text,
                negative,
                GarmentInputs(garment(mean, batch.clip_hidden)),
                official_scheduler(),
                self.config.steps,
                self.config.guidance,
            )
            made = images_from_pixels(frozen.vae.decode(latents.to(frozen.vae.dtype) / batch.scaling).sample)
            images += [cover(image, *size) for image in (pair.garment.open(), pair.person.open())]
            images += [ImageOps.pad(image, size) for image in made]
        return make_image_grid(images, len(images) // 3, 3)


def validator(config: TrainingConfig, maker: SampleMaker) -> Validator | None:
    """Return the validator that the configuration asks for, with its images read.

    Raises:
        IMAGDressingError: An entry is broken or an image cannot be read.
    """
    if config.validation is None:
        return None
    pairs = whole_pairs(replace(config.data, path=config.validation.path))[: config.validation.pairs]
    quiet = replace(maker, dropout=NOTHING_DROPPED, seed=maker.seed + 1)
    of_size: dict[Any, list[tuple[TrainingPair, Sample]]] = {}
    for position, pair in enumerate(pairs):
        sample = quiet.sample(pair, position)
        of_size.setdefault(sample["person"].shape, []).append((pair, sample))
    size = config.run.batch
    batches = [alike[i : i + size] for alike in of_size.values() for i in range(0, len(alike), size)]
    return Validator(config.validation, config.data, batches)
