"""The garment U-Net's one pass over a garment: C_g of every self-attention layer, read at t = 0."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch
from torch import Tensor

from .layers import LAST_TO_RUN, LAYERS

Kept = TypeVar("Kept")
Progress = Callable[[int, int], None]
"""Called with (done, in all), in layers, bytes or whatever the work is counted in."""

Note = Callable[[int, Tensor], None]
"""Takes (layer index, C_g): the normalised input of that self-attention layer, (batch, tokens, C)."""


def read_garment(
    run: Callable[[Note], object], keep: Callable[[int, Tensor], Kept], progress: Progress | None = None
) -> dict[int, Kept]:
    """Run the garment U-Net once and return what ``keep`` makes of C_g, by layer index.

    The pass ends with the last layer that is needed: nothing after its input is ever read.

    Args:
        run: makes the pass, at t = 0 (:func:`no_noise`), and calls its argument from every self-attention layer.
        keep: takes (layer index, C_g) at once, so that the features of only one layer need to be held.
        progress: told the number of layers read, and of all.
    """
    kept: dict[int, Kept] = {}

    def note(index: int, c_g: Tensor) -> None:
        kept[index] = keep(index, c_g)
        if progress is not None:
            progress(len(kept), len(LAYERS))
        if index == LAST_TO_RUN.index:
            raise _LastLayerRead

    with suppress(_LastLayerRead):
        run(note)
    return kept


def no_noise(latent: Tensor) -> Tensor:
    """Return the garment U-Net's timesteps, t = 0 for each of a batch of latents: the garment is free of noise."""
    return torch.zeros(len(latent), device=latent.device)


class _LastLayerRead(Exception):
    """Ends the pass early."""
