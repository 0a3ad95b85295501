"""The terms of a call: which garment acts in which rows, where and how strongly, with its tensors on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ...imagdressing_core.application.applied_garment import AppliedGarment, Strengths
from ...imagdressing_core.model.garment import GarmentImage, join_images
from ...imagdressing_core.model.magic_clothing import LayerFeatures, blank
from ...imagdressing_core.model.mask import TokenMasks, crop_mask, has_shape_of
from .batch import ModelCall, Row
from .feedback import SaidOnce


@dataclass(frozen=True)
class Term:
    """What one garment adds to some rows of a call. rows: those rows of x; images: their indices in the batch."""

    applied: AppliedGarment
    rows: slice
    images: tuple[int, ...]
    image: GarmentImage
    strengths: Strengths
    masks: TokenMasks | None


class GarmentTerms:
    """The garments of one sampling run, brought to its device and fitted to its calls.

    latent_size: (height, width) of the latent being sampled, to notice calls that see only a part of it.
    compiled_on: the device of a compiled run.
    """

    def __init__(
        self,
        garments: Sequence[AppliedGarment],
        latent_size: tuple[int, int] | None = None,
        compiled_on: torch.device | None = None,
    ) -> None:
        self.said = SaidOnce()
        self.strengths = {id(applied): Strengths(applied, compiled_on) for applied in garments}
        self._latent_size = latent_size
        self._images: dict[Any, GarmentImage] = {}
        self._calls: dict[Any, tuple[list[Term], Any]] = {}

    def of_call(self, garments: Sequence[AppliedGarment], call: ModelCall) -> list[Term]:
        """Return what these garments add to the rows of a call. Equal calls are worked out once."""
        kind = (tuple(map(id, garments)), call)
        if kind not in self._calls:
            self._calls[kind] = [term for applied in garments for term in self._terms_of(applied, call)], garments
        return self._calls[kind][0]

    def on_device(self, images: tuple[GarmentImage, ...], device: torch.device, dtype: torch.dtype) -> GarmentImage:
        """Return the run's own copy of garment images: a kernel may write into what it is given."""
        key = (tuple(map(id, images)), device, dtype)
        if key not in self._images:
            self._images[key] = join_images([image.to(device, dtype) for image in images])
        return self._images[key]

    def _terms_of(self, applied: AppliedGarment, call: ModelCall) -> list[Term]:
        """Return one term for all rows that have the same images of the garment: one attention for all of them."""
        groups: dict[Any, list[int]] = {}
        for number, row in enumerate(call.rows):
            applies = self._applies_to(applied, row)
            if applies or (applies is not None and is_concatenated(applied)):
                images = applied.images_for(row.image or 0)
                groups.setdefault((applies, tuple(map(id, images)), row.area), []).append(number)
        terms: list[Term] = []
        for (applies, *_), numbers in groups.items():
            image = self.on_device(applied.images_for(call.rows[numbers[0]].image or 0), call.device, call.dtype)
            shown = image if applies else blank(image)
            for part in _slices(numbers):
                rows = call.rows[part]
                images = tuple(row.image or 0 for row in rows)
                masks = self._masks(applied, rows, call)
                terms.append(Term(applied, part, images, shown, self.strengths[id(applied)], masks))
        return terms

    def _applies_to(self, applied: AppliedGarment, row: Row) -> bool | None:
        """Return whether the garment applies to a row; where that is unknown, warn and return None."""
        conditional = True if applied.branches == "both" else row.conditional
        if conditional is None or (conditional and row.image is None and applied.differs_by_image):
            self.say_rows_unknown(applied)
            return None
        return conditional

    def _masks(self, applied: AppliedGarment, rows: Sequence[Row], call: ModelCall) -> TokenMasks | None:
        masks, size, area = applied.masks_for([row.image or 0 for row in rows]), self._latent_size, rows[0].area
        if masks is None or applied.mask is None:
            return None
        if size is not None and not has_shape_of(applied.mask, *size):
            height, width = applied.mask.shape[-2:]
            self.said.warn(
                f"The mask is stretched: it is {width} × {height}, and what is sampled, {8 * size[1]} × {8 * size[0]} "
                "pixels, has another shape. If this run is about a crop or a tile (a detailer, an upscaler), give it "
                "that part of the mask or none.",
                applied.label,
            )
        if size is not None and area is not None:
            size = call.height, call.width
            masks = crop_mask(masks.float().cpu(), self._latent_size or size, (*size, *area[2:]))
        if size not in (None, (call.height, call.width)):
            self.say_mask_left_out(applied, "another node samples the image in tiles")
            return None
        return TokenMasks(masks, call.device, call.dtype)

    def say_rows_unknown(self, applied: AppliedGarment) -> None:
        self.said.warn(
            "Some rows of the batch go without the garment: another node computes them in a way that does not tell "
            "which prompt or which image they belong to.",
            applied.label,
        )

    def say_mask_left_out(self, applied: AppliedGarment, why: str) -> None:
        self.said.warn(f"The garment acts outside its mask too: {why}, which a mask cannot follow.", applied.label)


def is_concatenated(applied: AppliedGarment) -> bool:
    """Return whether the image attends to the garment's tokens together with its own, MagicClothing's rule."""
    return applied.garment.kind is LayerFeatures


def _slices(numbers: Sequence[int]) -> list[slice]:
    """Return rows as slices: one where they are evenly apart, otherwise one for each run of neighbours."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if all(b - a == step for a, b in pairwise(numbers)):
        return [slice(numbers[0], numbers[-1] + 1, step)]
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return [slice(start, end + 1) for start, end in zip(starts, ends, strict=True)]
