"""The encoded garment as data: K' and V' of every hybrid attention layer. Sampling needs nothing else of it.

What holds tensors is equal to itself alone (``eq=False``): tensors have no truth value to compare by, and other packs
compare whatever comes over a wire.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from typing_extensions import Self

from ..errors import IMAGDressingError
from .layers import LAYERS
from .mask import mask_tokens

PIXELS_PER_LATENT = 8
LARGEST_VALUE = torch.finfo(torch.float16).max  # a garment encoded in float32 may be applied in float16


@dataclass(frozen=True, eq=False)
class GarmentLayer:
    """The garment's tensors in one self-attention layer. Every field is a tensor (1, tokens, C)."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(**{name: change(tensor) for name, tensor in self.tensors.items()})


@dataclass(frozen=True, eq=False)
class LayerKV(GarmentLayer):
    """K' and V' of one layer, the garment's side of the paper's Eq. 5."""

    k: Tensor
    v: Tensor


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


@dataclass(frozen=True, eq=False)
class GarmentImage:
    """One garment image as the layers need it.

    layers: ``LayerKV`` by official layer index, or :class:`.magic_clothing.LayerFeatures` of a MagicClothing
        checkpoint. The number of tokens differs from image to image.
    thumbnail: a small copy of the image for people, (height, width, 3) in uint8.
    """

    layers: Mapping[int, GarmentLayer]
    origin: Origin
    thumbnail: Tensor | None = None

    @property
    def kind(self) -> type[GarmentLayer]:
        """The type of its layers, which decides the rule of attention: Eq. 5 or MagicClothing's."""
        return type(self.layers[LAYERS[0].index])

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for layer in self.layers.values() for tensor in layer.tensors.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> "GarmentImage":
        """Return a copy of it on ``device`` in ``dtype``, even where nothing changes.

        Attention kernels may write into their keys. And where a LoRA is trained through the garment, outside inference
        mode, autograd cannot keep the original's inference tensors.
        """
        return self.map(lambda _, tensor: tensor.to(device, dtype, copy=True))

    def without_background(self, mask: Tensor) -> "GarmentImage":
        """Return it with only the tokens whose cells contain some of the garment.

        mask: (height, width) in any size, 1 = garment, for the image as the VAE saw it.

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
        return self.map(lambda index, tensor: tensor[:, kept[index].to(tensor.device)])

    def map(self, change: Callable[[int, Tensor], Tensor]) -> "GarmentImage":
        """Return it with ``change(layer index, tensor)`` in place of every tensor."""
        return replace(
            self,
            layers={
                index: layer.map(lambda tensor, index=index: change(index, tensor))
                for index, layer in self.layers.items()
            },
        )


@dataclass(frozen=True, eq=False)
class Garment:
    """A garment, encoded once and applied to any number of images: one entry for each image given of it.

    Raises:
        IMAGDressingError: the images come from IMAGDressing and MagicClothing together.
    """

    images: tuple[GarmentImage, ...]

    def __post_init__(self) -> None:
        if len({image.kind for image in self.images}) > 1:
            raise IMAGDressingError(
                "garment_1 and garment_2 are applied by different rules (IMAGDressing's and MagicClothing's) and "
                "cannot be joined. Encode both with one checkpoint, or use an Apply Garment for each."
            )

    @property
    def kind(self) -> type[GarmentLayer]:
        return self.images[0].kind

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self.images)


def is_usable(tensor: Tensor) -> bool:
    """Return whether every value is finite and fits into float16, the narrowest precision ComfyUI samples in."""
    return bool((tensor.abs() <= LARGEST_VALUE).all())


def images_of_batch(layers: Mapping[int, GarmentLayer], origin: Origin) -> tuple[GarmentImage, ...]:
    """Split the layers of a batch, with tensors (batch, tokens, C), into one garment image for each of the batch.

    Raises:
        IMAGDressingError: a value is NaN, infinite or beyond fp16. It would blacken every image it is applied to.
    """
    for layer in LAYERS:
        if not all(is_usable(tensor) for tensor in layers[layer.index].tensors.values()):
            raise IMAGDressingError(
                "Encoding the garment gave NaN, infinite values or larger ones than fp16 holds (first in "
                f"{layer.diffusers_name}). Either the image, the VAE or the checkpoint is broken, or the garment "
                "U-Net overflows in fp16; against that, start ComfyUI with --bf16-unet or --fp32-unet."
            )
    whole = GarmentImage(layers, origin)
    batch = len(next(iter(layers[LAYERS[0].index].tensors.values())))
    return tuple(whole.map(lambda _, tensor, i=i: tensor[i : i + 1]) for i in range(batch))


def join_images(images: Sequence[GarmentImage]) -> GarmentImage:
    """Return one image whose tokens are those of all: several views of one garment, attended to together.

    Attention over repeated keys is the attention over one of them, so equal images join to the same as one.
    """
    if len(images) == 1:
        return images[0]
    first = images[0]
    layers = {
        index: type(layer)(
            **{
                name: torch.cat([image.layers[index].tensors[name] for image in images], dim=1)
                for name in layer.tensors
            }
        )
        for index, layer in first.layers.items()
    }
    return replace(first, layers=layers)
