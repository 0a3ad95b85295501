"""Conditioning dropout: samples that go without a condition, so that guidance has something to guide away from."""

from dataclasses import dataclass

from .config import Dropout


@dataclass(frozen=True)
class Dropped:
    """What one sample goes without.

    image: CLIP sees zeros, as officially. text: the prompt is empty. garment_latent: the garment U-Net sees zeros.
    The garment's term itself is never left out: without it only frozen weights act, and the sample teaches nothing.
    """

    image: bool
    text: bool
    garment_latent: bool


def conditioning_dropout(rates: Dropout, draw: float, garment_draw: float) -> Dropped:
    """Decide by two numbers, uniform in 0 … 1: image only, text only or both exclude each other, as officially.

    Source: official IGPair.py, ``__getitem__``; it never drops the garment's latent.
    """
    image = draw < rates.image
    text = not image and draw < rates.image + rates.text
    both = not image and not text and draw < rates.image + rates.text + rates.both
    return Dropped(image or both, text or both, garment_draw < rates.garment_latent)
