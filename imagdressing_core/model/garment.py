"""The encoded garment as data: K' and V' of every hybrid attention layer, all that sampling needs of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import IMAGDressingError
from .layers import LAYERS
from .mask import mask_tokens

PIXELS_PER_LATENT = 8
LARGEST_VALUE = torch.finfo(torch.float16).max  # a garment read in float32 may be worn in float16

Parts = Mapping[str, Mapping[int, Tensor]]


@dataclass(frozen=True)
class Origin:
    """Where an encoded garment image comes from.

    checkpoint: name of the file that encoded it; fingerprint: sha256 of that file's trained projections, which tells
        trainings apart and not formats. fit: how the image was brought to size (a key of ``preprocess.FITS``).
    width, height: size in pixels that the VAE saw, which sets the number of tokens.
    """

    checkpoint: str
    fingerprint: str
    fit: str
    width: int
    height: int


@dataclass(frozen=True)
class GarmentImage:
    """One garment image as the layers need it.

    parts: {"k": K', "v": V'} where the checkpoint has projections of its own (hybrid attention), {"c": C_g} where the
        denoising U-Net's own are used (joint attention, MagicClothing); each {layer index: (1, tokens, C)}, the number
        of tokens differing from image to image.
    thumbnail: the image, small, (height, width, 3) in uint8, to be recognised by.
    """

    parts: Parts
    origin: Origin
    thumbnail: Tensor | None = None

    @property
    def is_joint(self) -> bool:
        """Whether it is attended to together with the image's own tokens, as in MagicClothing."""
        return "c" in self.parts

    @property
    def keys(self) -> Mapping[int, Tensor]:
        return self.parts["k"]

    @property
    def values(self) -> Mapping[int, Tensor]:
        return self.parts["v"]

    @property
    def features(self) -> Mapping[int, Tensor]:
        return self.parts["c"]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for part in self.parts.values() for tensor in part.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> "GarmentImage":
        """Return it on ``device`` in ``dtype``; the tensors themselves where nothing changes."""
        return self._with(lambda _, tensor: tensor.to(device, dtype, non_blocking=True))

    def without_background(self, mask: Tensor) -> "GarmentImage":
        """Return it with only the tokens that see something of the garment.

        mask: (height, width) in any size, 1 = garment, of the image as the VAE saw it.

        Raises:
            IMAGDressingError: the mask leaves no token in some layer.
        """
        latent = self.origin.height // PIXELS_PER_LATENT, self.origin.width // PIXELS_PER_LATENT
        kept: dict[int, Tensor] = {}
        for layer in LAYERS:
            share = mask_tokens(mask.unsqueeze(0), *layer.grid(*latent))  # (1, tokens, 1)
            kept[layer.index] = share[0, :, 0].nonzero()[:, 0]
            if not len(kept[layer.index]):
                raise IMAGDressingError("mask is empty once brought to the garment's size: it marks no garment at all.")
        return self._with(lambda index, tensor: tensor[:, kept[index].to(tensor.device)])

    def blank(self) -> "GarmentImage":
        """Return as many tokens, all zero: what MagicClothing's unconditional branch sees in place of the garment."""
        return self._with(lambda _, tensor: torch.zeros_like(tensor))

    def _with(self, change: Callable[[int, Tensor], Tensor]) -> "GarmentImage":
        parts = {
            name: {index: change(index, tensor) for index, tensor in part.items()} for name, part in self.parts.items()
        }
        return replace(self, parts=parts)


@dataclass(frozen=True)
class Garment:
    """A garment, encoded once and worn by any number of images: one entry for each image given of it.

    Raises:
        IMAGDressingError: the images come from IMAGDressing and MagicClothing together.
    """

    images: tuple[GarmentImage, ...]

    def __post_init__(self) -> None:
        if len({image.is_joint for image in self.images}) > 1:
            raise IMAGDressingError(
                "garment_1 and garment_2 are worn by different rules (IMAGDressing's and MagicClothing's) and cannot "
                "be joined. Encode both with one checkpoint, or put them on with an Apply Garment each."
            )

    @property
    def is_joint(self) -> bool:
        return self.images[0].is_joint

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self.images)


def is_wearable(tensor: Tensor) -> bool:
    """Return whether all values are numbers that every precision holds which ComfyUI samples in."""
    return bool((tensor.abs() <= LARGEST_VALUE).all())


def images_of_batch(parts: Parts, origin: Origin) -> tuple[GarmentImage, ...]:
    """Take the parts of a batch, each {layer index: (batch, tokens, C)}, apart into its images.

    Raises:
        IMAGDressingError: a value is NaN, infinite or beyond fp16, which would blacken every image that wears it.
    """
    for part in parts.values():
        for layer in LAYERS:
            if not is_wearable(part[layer.index]):
                raise IMAGDressingError(
                    "Encoding the garment gave NaN, infinite values or larger ones than fp16 holds (first in "
                    f"{layer.diffusers_name}). Either the image, the VAE or the checkpoint is broken, or the garment "
                    "U-Net overflows in fp16; against that, start ComfyUI with --bf16-unet or --fp32-unet."
                )
    batch = len(next(iter(parts.values()))[LAYERS[0].index])
    return tuple(
        GarmentImage(
            {name: {index: tensor[i : i + 1] for index, tensor in part.items()} for name, part in parts.items()}, origin
        )
        for i in range(batch)
    )


def join_images(images: Sequence[GarmentImage]) -> GarmentImage:
    """Return one image whose tokens are those of all: several views of one garment, attended to together.

    Attention over repeated keys is the attention over one of them, so equal images join to the same as one.
    """
    if len(images) == 1:
        return images[0]
    parts = {
        name: {index: torch.cat([image.parts[name][index] for image in images], dim=1) for index in part}
        for name, part in images[0].parts.items()
    }
    return replace(images[0], parts=parts)
