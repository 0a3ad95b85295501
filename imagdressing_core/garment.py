"""The encoded garment as data: K' and V' of every hybrid attention layer, all that sampling needs of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import IMAGDressingError
from .layers import LAYERS
from .region import region_tokens

PIXELS_PER_LATENT = 8


@dataclass(frozen=True)
class Origin:
    """Where an encoded garment picture comes from.

    checkpoint: name of the file that encoded it; fingerprint: sha256 of that file's trained projections, which tells
        trainings apart and not formats. fit: how the picture was brought to size (a key of ``preprocess.FITS``).
    width, height: size in pixels that the VAE saw, which sets the number of tokens.
    """

    checkpoint: str
    fingerprint: str
    fit: str
    width: int
    height: int


@dataclass(frozen=True)
class GarmentPicture:
    """K' and V' of one garment picture: {layer index: (1, tokens, C)}, tokens differing from picture to picture.

    thumbnail: the picture, small, (height, width, 3) in uint8, to be recognised by.
    """

    keys: Mapping[int, Tensor]
    values: Mapping[int, Tensor]
    origin: Origin
    thumbnail: Tensor | None = None

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for part in (self.keys, self.values) for tensor in part.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> "GarmentPicture":
        """Return it on ``device`` in ``dtype``; the tensors themselves where nothing changes."""

        def moved(part: Mapping[int, Tensor]) -> dict[int, Tensor]:
            return {index: tensor.to(device, dtype, non_blocking=True) for index, tensor in part.items()}

        return replace(self, keys=moved(self.keys), values=moved(self.values))

    def without_background(self, mask: Tensor) -> "GarmentPicture":
        """Return it with only the tokens that see something of the garment.

        mask: (height, width) in any size, 1 = garment, of the picture as the VAE saw it.

        Raises:
            IMAGDressingError: the mask leaves no token in some layer.
        """
        latent = self.origin.height // PIXELS_PER_LATENT, self.origin.width // PIXELS_PER_LATENT
        kept: dict[int, Tensor] = {}
        for layer in LAYERS:
            share = region_tokens(mask.unsqueeze(0), *layer.grid(*latent))  # (1, tokens, 1)
            kept[layer.index] = share[0, :, 0].nonzero()[:, 0].to(self.keys[layer.index].device)
            if not len(kept[layer.index]):
                raise IMAGDressingError("mask is empty once brought to the garment's size: it marks no garment at all.")
        return replace(
            self,
            keys={index: tensor[:, kept[index]] for index, tensor in self.keys.items()},
            values={index: tensor[:, kept[index]] for index, tensor in self.values.items()},
        )


@dataclass(frozen=True)
class Garment:
    """A garment, encoded once and worn by any number of pictures: one entry for each picture given of it."""

    pictures: tuple[GarmentPicture, ...]

    @property
    def nbytes(self) -> int:
        return sum(picture.nbytes for picture in self.pictures)


def pictures_from_projections(
    keys: Mapping[int, Tensor], values: Mapping[int, Tensor], origin: Origin
) -> tuple[GarmentPicture, ...]:
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
            origin,
        )
        for i in range(batch)
    )


def join_pictures(pictures: Sequence[GarmentPicture]) -> GarmentPicture:
    """Return one picture whose tokens are those of all: several views of one garment, attended to together.

    Attention over repeated keys is the attention over one of them, so equal pictures join to the same as one.
    """
    if len(pictures) == 1:
        return pictures[0]
    return replace(
        pictures[0],
        keys={index: torch.cat([picture.keys[index] for picture in pictures], dim=1) for index in pictures[0].keys},
        values={index: torch.cat([picture.values[index] for picture in pictures], dim=1) for index in pictures[0].keys},
    )
