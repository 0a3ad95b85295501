"""Garments whose size ComfyUI's RAM cache sees: of a node's outputs it counts only tensors, lists and tuples."""

from typing import Any

from ...imagdressing_core.model.garment import Garment, GarmentImage


class CountedGarment(Garment, tuple):
    """A garment that is also the tuple of its tensors. Otherwise the cache would take gigabytes for nothing."""

    # Those of a garment, not of a tuple of tensors.
    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    def __new__(cls, images: tuple[GarmentImage, ...]) -> "CountedGarment":
        layers = (layer for image in images for layer in image.layers.values())
        return tuple.__new__(cls, (tensor for layer in layers for tensor in layer.tensors.values()))

    def __reduce__(self) -> Any:
        return CountedGarment, (self.images,)  # for copy and pickle, which would build it from its tensors


def counted(garment: Garment) -> Garment:
    """Return the same garment as one whose size ComfyUI's RAM cache sees."""
    return CountedGarment(garment.images)
