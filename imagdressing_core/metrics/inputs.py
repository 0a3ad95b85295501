"""Pictures as the learned metrics' models take them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# OpenAI CLIP's; BLIP took them over.
PIXEL_MEAN, PIXEL_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(pictures: Sequence[np.ndarray], size: int) -> Tensor:
    """Return pictures as OpenAI's CLIP and BLIP see them: the middle square, ``size`` pixels wide, normalised.

    pictures: RGB, uint8, (height, width, 3). Returns (batch, 3, size, size), float32.
    """
    from torchvision.transforms import v2

    see = v2.Compose(
        [
            v2.Resize(size, v2.InterpolationMode.BICUBIC),  # of a PIL picture, as the official code has it
            v2.CenterCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(PIXEL_MEAN, PIXEL_STD),
        ]
    )
    return torch.stack([see(Image.fromarray(picture)) for picture in pictures])


def batches(size: int, *lists: Sequence[Any]) -> Iterator[tuple[Sequence[Any], ...]]:
    """Cut lists of one length into pieces of at most ``size``."""
    for start in range(0, len(lists[0]), size):
        yield tuple(one[start : start + size] for one in lists)
