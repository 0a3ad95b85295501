"""How a garment is worn: its strength, when, where, in which layers and by which images of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from torch import Tensor

from ..errors import require_between
from ..model.garment import Garment, GarmentImage
from ..model.layers import LAYERS
from .strengths import CONSTANT, LAYER_PRESETS, LayerWeights, Schedule, factor_at

Branches = Literal["conditional", "both"]
Batch = Literal["broadcast", "one per image"]


@dataclass(frozen=True)
class AppliedGarment:
    """One garment as it is put on a model.

    strength: λ of the paper's Eq. 5, -100 … 100.
    start_percent, end_percent: the part of the sampling, 0 … 1, in which it acts; the end itself is not part of it.
    region: where in the generated image it acts, (masks, height, width), 0 … 1, one for all or one per image.
    layers: factor of λ by layer index.
    branches: "conditional", as the paper: the unconditional prediction never wears it; or "both".
    batch: "broadcast": every generated image wears all images of the garment, as views of one thing;
        "one per image": image i of the batch wears image i of the garment, starting over when they run out.
    schedule: factor of λ along the garment's window.
    label: names who put it on, for messages.

    Raises:
        IMAGDressingError: strength, start or end is outside its range, or NaN.
    """

    garment: Garment
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    region: Tensor | None = None
    layers: LayerWeights = field(default_factory=lambda: LAYER_PRESETS["all"])
    branches: Branches = "conditional"
    batch: Batch = "broadcast"
    schedule: Schedule = CONSTANT
    label: str | None = None

    def __post_init__(self) -> None:
        require_between("strength", self.strength, -100, 100)
        require_between("start_percent", self.start_percent, 0, 1)
        require_between("end_percent", self.end_percent, 0, 1)

    @property
    def ever_acts(self) -> bool:
        return (
            self.strength != 0
            and self.start_percent < self.end_percent
            and any(self.layers.values())
            and any(factor for _, factor in self.schedule)
        )

    def factor_at(self, percent: float) -> float:
        """Return the schedule's factor of λ at ``percent`` of the sampling, 0 … 1."""
        position = (percent - self.start_percent) / (self.end_percent - self.start_percent)
        return factor_at(self.schedule, min(max(position, 0.0), 1.0))

    def images_for(self, image_indices: Sequence[int]) -> list[tuple[slice, tuple[GarmentImage, ...]]]:
        """Return which garment images the generated images wear, as runs of ``image_indices`` that wear the same.

        image_indices: the numbers, within the whole batch, of the images being computed.
        """
        images = self.garment.images
        if self.batch == "broadcast":
            return [(slice(0, len(image_indices)), images)]
        runs: list[tuple[slice, tuple[GarmentImage, ...]]] = []
        start = 0
        for number, run in groupby(image_indices, key=lambda index: index % len(images)):
            stop = start + len(list(run))
            runs.append((slice(start, stop), (images[number],)))
            start = stop
        return runs

    def masks_for(self, image_indices: Sequence[int]) -> Tensor | None:
        """Return the masks of these images of the batch, starting over when they run out; one where all share it."""
        if self.region is None or len(self.region) == 1:
            return self.region
        return self.region[[index % len(self.region) for index in image_indices]]


Acting = tuple[AppliedGarment, float]
"""A garment and its schedule's factor of λ at this moment."""


def same_garments(acting: Sequence[Acting]) -> list[list[Acting]]:
    """Group what is the same garment at different strengths: λ₁·Attn + λ₂·Attn = (λ₁ + λ₂)·Attn.

    Exact where two attentions added up are not, and as fast as one.
    """
    kinds: dict[tuple[object, ...], list[Acting]] = {}
    for worn, factor in acting:
        kind = (id(worn.garment), id(worn.region), worn.branches, worn.batch)
        kinds.setdefault(kind, []).append((worn, factor))
    return list(kinds.values())


def strength_by_layer(same: Sequence[Acting]) -> LayerWeights:
    """Return λ by layer index of one garment, put on once or several times."""
    return {
        layer.index: sum(factor * worn.strength * worn.layers.get(layer.index, 0.0) for worn, factor in same)
        for layer in LAYERS
    }
