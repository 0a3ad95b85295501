"""What a batch of drawn people is made of: what is shown of each, and everything that is left to chance."""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from imagdressing_core.training.objective import RandomDraws

from . import data, drawing, world

SHIRTS = 0.75  # of the garments; trousers are the others
BOXES = 0.3  # of the masks
WORD_DROPOUT, CAPTION_DROPOUT = 0.25, 0.1


def some_kinds(people: Sequence[world.Person]) -> list[str]:
    """Return which garment of each person is shown."""
    return [drawing.KINDS[int(torch.rand(()) >= SHIRTS)] for _ in people]


def some_words(words: Tensor) -> Tensor:
    """Return prompts that leave out words, or all of them, (batch, words) with −1 for none."""
    kept = torch.rand(words.shape) >= WORD_DROPOUT
    kept &= torch.rand(len(words), 1) >= CAPTION_DROPOUT
    return torch.where(kept, words, torch.full_like(words, -1))


def some_mask(person: world.Person, width: int) -> Tensor:
    """Return what is to be painted anew, (height, width): the person's shirt or trousers and around them, or a box."""
    if torch.rand(()) < BOXES:
        height = round(width * drawing.ASPECT)
        (top, left), (bottom, right) = (torch.rand(2, 2) * torch.tensor([height / 2, width / 2])).int().tolist()
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[top : height - bottom, left : width - right] = True
        return mask
    kind = drawing.KINDS[int(torch.rand(()) < 0.5)]
    drawn = torch.from_numpy(numpy.array(world.mask(person, kind, width))).float()[None, None]
    grown = 2 * int(torch.randint(width // 16, (1,))) + 1  # as a user covers more than the old garment
    return max_pool2d(drawn, grown, stride=1, padding=grown // 2)[0, 0] > 0


def timesteps(batch: int) -> Tensor:
    """Return timesteps spread evenly over a batch, so that no batch has easy ones alone."""
    return ((torch.rand(batch) + torch.randperm(batch)) * (1000 / batch)).long().clamp(max=999)


def garment_latents(people: Sequence[world.Person], kinds: Sequence[str], width: int) -> Tensor:
    """Return the latents of a garment of each person, drawn flat."""
    chosen = (getattr(one, kind) for one, kind in zip(people, kinds, strict=True))
    return data.latents(drawing.garment_image(one, width) for one in chosen)


def worn_latents(people: Sequence[world.Person], kinds: Sequence[str], width: int) -> Tensor:
    """Return how much of a latent's cell the garment covers where it is worn, (people, 1, rows, columns), 0 … 1."""
    masks = [world.mask(one, kind, width) for one, kind in zip(people, kinds, strict=True)]
    pixels = torch.from_numpy(numpy.stack([numpy.asarray(one) for one in masks])).float() / 255
    return avg_pool2d(pixels[:, None], data.CELL)


def no_clip(people: Sequence[world.Person], device: torch.device) -> Tensor:
    """Return what stands for CLIP's hidden states, which ``ConstantContext`` does not look at."""
    return torch.zeros(len(people), 1, 1, device=device)


def moments(latent: Tensor) -> Tensor:
    """Return a latent as a VAE's mean and log-variance, the spread as good as none."""
    return torch.cat((latent, torch.full_like(latent, -30.0)), dim=1)


def draws(latent: Tensor) -> RandomDraws:
    nothing = torch.zeros_like(latent)
    return RandomDraws(
        timestep=timesteps(len(latent)).to(latent.device),
        noise=torch.randn_like(latent),
        offset=nothing,
        person=nothing,
        garment=nothing,
    )
