"""The encoded garment as data: K' and V' of every hybrid attention layer, all that sampling needs of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import IMAGDressingError
from .layers import LAYERS


@dataclass(frozen=True)
class GarmentPicture:
    """K' and V' of one garment picture: {layer index: (1, tokens, C)}, tokens differing from picture to picture."""

    keys: Mapping[int, Tensor]
    values: Mapping[int, Tensor]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for part in (self.keys, self.values) for tensor in part.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> "GarmentPicture":
        """Return it on ``device`` in ``dtype``; itself where nothing changes."""

        def moved(part: Mapping[int, Tensor]) -> dict[int, Tensor]:
            return {index: tensor.to(device, dtype, non_blocking=True) for index, tensor in part.items()}

        return GarmentPicture(moved(self.keys), moved(self.values))


@dataclass(frozen=True)
class Garment:
    """A garment, encoded once and worn by any number of pictures: one entry for each picture given of it.

    width, height: size in pixels that the VAE saw, which sets the number of tokens.
    fit: how the picture was brought to that size (a key of ``preprocess.FITS``).
    source: name of the checkpoint that encoded it.
    """

    pictures: tuple[GarmentPicture, ...]
    width: int
    height: int
    fit: str
    source: str

    @property
    def nbytes(self) -> int:
        return sum(picture.nbytes for picture in self.pictures)


def pictures_from_projections(keys: Mapping[int, Tensor], values: Mapping[int, Tensor]) -> tuple[GarmentPicture, ...]:
    """Take a batch of K' and V', {layer index: (batch, tokens, C)}, apart into its pictures.

    Raises:
        IMAGDressingError: a value is NaN or infinite, which would blacken every picture that wears the garment.
    """
    for part in (keys, values):
        for layer in LAYERS:
            if not bool(torch.isfinite(part[layer.index]).all()):
                raise IMAGDressingError(
                    f"Encoding the garment gave NaN or infinite values (first in {layer.diffusers_name}). Either the "
                    "picture, the VAE or the checkpoint is broken, or the garment U-Net overflows in fp16; against "
                    "that, start ComfyUI with --bf16-unet or --fp32-unet."
                )
    batch = len(next(iter(keys.values())))
    return tuple(
        GarmentPicture(
            {index: tensor[i : i + 1] for index, tensor in keys.items()},
            {index: tensor[i : i + 1] for index, tensor in values.items()},
        )
        for i in range(batch)
    )


def join_pictures(pictures: Sequence[GarmentPicture]) -> GarmentPicture:
    """Return one picture whose tokens are those of all: several views of one garment, attended to together.

    Attention over repeated keys is the attention over one of them, so equal pictures join to the same as one.
    """
    if len(pictures) == 1:
        return pictures[0]
    return GarmentPicture(
        {index: torch.cat([picture.keys[index] for picture in pictures], dim=1) for index in pictures[0].keys},
        {index: torch.cat([picture.values[index] for picture in pictures], dim=1) for index in pictures[0].keys},
    )
