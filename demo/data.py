"""The drawn world as the models see it: latents of people and of what they wear, and what a prompt says of them."""

import random
from collections.abc import Iterable, Sequence

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from . import world

WIDTH, SMALL_WIDTH = 256, 128  # of the demo's images, and of those that training begins with
CELL = 8  # pixels of a latent's side
LATENT_CHANNELS = 4
# Latents are brightness, two differences of colour, and how much brighter a cell's upper half is than its lower one;
# mean and spread of each over the drawn world.
CENTRE = (0.25, -0.09, -0.045, 0.0)
SPREAD = (0.36, 0.37, 0.4, 0.165)
# Rows: brightness, red − green, blue − yellow; columns: red, green, blue.
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1.0, -1.0, 0.0), (-0.5, -0.5, 1.0))
TOKENS, CHANNELS = 77, 64
VOCABULARY = (*world.SUBJECTS, *world.HAIR, *world.POSES, *world.SCENES)


def drawn(number: int, split: str = "train") -> world.Person:
    """Return person ``number`` of a split, in garments that nobody else wears."""
    return world.draw_person(random.Random(f"{split} {number}"))


def pixels(images: Iterable[Image.Image]) -> Tensor:
    """Return images of one size as (batch, 3, height, width), −1 … 1."""
    return torch.from_numpy(numpy.stack([numpy.asarray(one) for one in images])).movedim(-1, 1) / 127.5 - 1


def encode(pixels: Tensor) -> Tensor:
    """Return the latents that the demo's VAE gives, scaled, (batch, 4, height / 8, width / 8)."""
    opponent, centre, spread = _constants(pixels.dtype)
    colours = torch.einsum("oc,bchw->bohw", opponent, avg_pool2d(pixels, CELL))
    upper, lower = avg_pool2d(pixels.mean(1, keepdim=True), (CELL // 2, CELL)).unflatten(2, (-1, 2)).unbind(3)
    return (torch.cat((colours, upper - lower), dim=1) - centre) / spread


def coarse(latent: Tensor) -> Tensor:
    """Return latents as images of one pixel for each cell, −1 … 1: to look at where there is no decoder."""
    opponent, centre, spread = _constants(latent.dtype)
    return torch.einsum("co,bohw->bchw", torch.linalg.inv(opponent), (latent * spread + centre)[:, :3])


def _constants(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    centre, spread = (torch.tensor(values, dtype=dtype).view(-1, 1, 1) for values in (CENTRE, SPREAD))
    return torch.tensor(OPPONENT, dtype=dtype), centre, spread


def word_vectors() -> Tensor:
    """Return what the text encoder makes of each word of the vocabulary, (words, 64), mean 0 and spread 1."""
    vectors = torch.randn(len(VOCABULARY), CHANNELS, generator=torch.Generator().manual_seed(0))
    centred = vectors - vectors.mean(1, keepdim=True)
    return centred / centred.std(1, correction=0, keepdim=True)


def context(words: Tensor) -> Tensor:
    """Return C_t of prompts, (batch, 77, 64): known words in their places, zeros elsewhere.

    words: (batch, up to 77), numbers of the vocabulary, −1 for none.
    """
    vectors = torch.cat((word_vectors(), torch.zeros(1, CHANNELS)))[words]
    return torch.cat((vectors, torch.zeros(len(words), TOKENS - words.shape[1], CHANNELS)), dim=1)


def words(people: Sequence[world.Person]) -> Tensor:
    """Return the numbers of the words that a prompt can say of each, (people, 4)."""
    return torch.tensor([[VOCABULARY.index(word) for word in world.words(one)] for one in people])


def latents(images: Iterable[Image.Image]) -> Tensor:
    """Return the latents of images of one size, (batch, 4, height / 8, width / 8)."""
    return encode(pixels(images)).contiguous(memory_format=torch.channels_last)
