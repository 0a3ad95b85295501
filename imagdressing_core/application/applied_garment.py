"""How a garment is applied: how strongly, when, where, in which layers and to which images of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..errors import require_between
from ..model.garment import Garment, GarmentImage
from ..model.layers import LAYERS, SelfAttentionLayer
from .strengths import CONSTANT, LAYER_PRESETS, LayerWeights, Schedule, factor_at

Branches = Literal["conditional", "both"]
Batch = Literal["broadcast", "one per image"]


@dataclass(frozen=True, eq=False)
class AppliedGarment:
    """One garment as it is applied to a model.

    strength: λ of the paper's Eq. 5, -100 … 100.
    start_percent, end_percent: the part of the sampling, 0 … 1, in which it acts; the end itself is not part of it.
    mask: where in the generated image it acts, (masks, height, width), 0 … 1, one for all or one per image.
    layers: factor of λ by layer index.
    branches: "conditional", as the paper: the unconditional prediction never has it; or "both".
    batch: "broadcast": every generated image has all images of the garment, as views of one thing;
        "one per image": image i of the batch has image i of the garment, starting over when they run out.
    schedule: factor of λ along the garment's window.
    label: the id of the node that applied it, for messages.

    Raises:
        IMAGDressingError: strength, start or end is outside its range, or NaN.
    """

    garment: Garment
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    mask: Tensor | None = None
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

    @property
    def differs_by_image(self) -> bool:
        """Whether the garment or its mask depends on the generated image's index in the batch."""
        one_each = self.batch == "one per image" and len(self.garment.images) > 1
        return one_each or (self.mask is not None and len(self.mask) > 1)

    def images_for(self, image_index: int) -> tuple[GarmentImage, ...]:
        """Return the garment images for the generated image with this index in the batch."""
        images = self.garment.images
        return images if self.batch == "broadcast" else (images[image_index % len(images)],)

    def masks_for(self, image_indices: Sequence[int]) -> Tensor | None:
        """Return the masks of these images of the batch, starting over when they run out; one where all share it."""
        if self.mask is None or len(self.mask) == 1:
            return self.mask
        return self.mask[[index % len(self.mask) for index in image_indices]]

    def full_strength(self, layer: SelfAttentionLayer) -> float:
        """Return λ in that layer where the schedule's factor is 1."""
        return self.strength * self.layers.get(layer.index, 0.0)


class Strengths:
    """λ of one garment in each layer, at the noise level of the current step.

    device: of a compiled run, None elsewhere. There λ is a tensor, since a compiled graph would keep a float as a
        constant.
    """

    def __init__(self, applied: AppliedGarment, device: torch.device | None = None) -> None:
        self._full = {layer.index: applied.full_strength(layer) for layer in LAYERS}
        self._factor = 1.0
        self._now: dict[int, float] = dict(self._full)
        self._places = {index: place for place, index in enumerate(self._full)}
        self._on_device: Tensor | None = None
        if device is not None:
            self._full_on_device = torch.tensor(list(self._full.values()), device=device)
            self._on_device = self._full_on_device.clone()

    def set_factor(self, factor: float) -> None:
        """Set the schedule's factor of λ."""
        if factor == self._factor:
            return
        self._factor = factor
        self._now.update({index: full * factor for index, full in self._full.items()})
        if self._on_device is not None:
            torch.mul(self._full_on_device, factor, out=self._on_device)

    def __getitem__(self, layer: SelfAttentionLayer) -> float | Tensor:
        return self._now[layer.index] if self._on_device is None else self._on_device[self._places[layer.index]]
