"""Garments as ComfyUI's RAM cache counts them: of outputs it counts tensors, in lists and tuples, and nothing else."""

from ...imagdressing_core.model.garment import Garment, GarmentImage


class CountedGarment(Garment, tuple):
    """A garment that is also the tuple of its tensors, so that one with gigabytes is not taken for one of no size."""

    def __new__(cls, images: tuple[GarmentImage, ...]) -> "CountedGarment":
        layers = (layer for image in images for layer in image.layers.values())
        return tuple.__new__(cls, (tensor for layer in layers for tensor in layer.tensors.values()))


def counted(garment: Garment) -> Garment:
    """Return the same garment, counted by ComfyUI's RAM cache with the size that it has."""
    return CountedGarment(garment.images)
