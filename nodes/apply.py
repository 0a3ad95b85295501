"""Putting a garment on a model."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..imagdressing_core.application.applied_garment import AppliedGarment, Batch, Branches
from ..imagdressing_core.application.strengths import LAYER_PRESETS, SCHEDULES, parse_layers, parse_schedule
from ..imagdressing_core.model.garment import Garment
from ..imagdressing_core.model.mask import as_masks
from .comfyui.feedback import node_id
from .comfyui.requirements import require_applicable
from .comfyui.wrappers import apply_garment
from .sockets import CATEGORY, SEARCH_ALIASES, IMAGDressingGarment

MODEL = io.Model.Input("model", tooltip="Any SD1.5 model, before or after other nodes that patch it.")
GARMENT = IMAGDressingGarment.Input("garment", tooltip="From Encode Garment, Load Garment or Join Garments.")
STRENGTH = io.Float.Input(
    "strength",
    default=1.0,
    min=0.0,
    max=5.0,
    step=0.05,
    tooltip="How strongly the garment shows (λ of the paper). 0.7 to 1.2 is usual; too much looks burnt and ignores "
    "the prompt. 0 switches it off.",
)
START = io.Float.Input(
    "start_percent",
    default=0.0,
    min=0.0,
    max=1.0,
    step=0.01,
    tooltip="Where in the sampling the garment sets in. Later leaves the pose and scene to the prompt.",
)
END = io.Float.Input(
    "end_percent",
    default=1.0,
    min=0.0,
    max=1.0,
    step=0.01,
    tooltip="Where in the sampling the garment leaves off. Earlier leaves fine detail to the prompt.",
)
MASK = io.Mask.Input(
    "mask",
    optional=True,
    tooltip="Where in the generated image the garment acts, white is where; any size, soft edges allowed, one for "
    "all images or one for each.",
)
DRESSED = io.Model.Output(tooltip="The model wearing the garment, for any sampler.")


def _masks(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else as_masks(mask)


class ApplyGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingApply",
            display_name="Apply Garment",
            category=CATEGORY,
            description="The model generates a person who wears the garment. Several in a row add up to an outfit.",
            search_aliases=SEARCH_ALIASES,
            inputs=[MODEL, GARMENT, STRENGTH, START, END, MASK],
            outputs=[DRESSED],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        garment: Garment,
        strength: float,
        start_percent: float,
        end_percent: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        require_applicable(model, garment, mask)
        worn = AppliedGarment(garment, strength, start_percent, end_percent, _masks(mask), label=node_id(cls))
        return io.NodeOutput(apply_garment(model, worn))


class ApplyGarmentAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingApplyAdvanced",
            display_name="Apply Garment (Advanced)",
            category=CATEGORY,
            description="Apply Garment with strength by layer and over time, by branch, and by image of a batch.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                MODEL,
                GARMENT,
                STRENGTH,
                START,
                END,
                io.String.Input(
                    "layers",
                    default="all",
                    tooltip=f"Where in the U-Net the garment acts: {', '.join(LAYER_PRESETS)}; or weights of layers "
                    "0 to 15 (0-5 down, 6-14 up, 15 middle) such as 0:1.0, 5:0.5, where the others get 0. "
                    "texture is the high-resolution layers, shape the low-resolution ones.",
                ),
                io.Combo.Input(
                    "branches",
                    options=["conditional", "both"],
                    default="conditional",
                    tooltip="conditional: as the paper, the negative prompt's branch goes without the garment. "
                    "both: it wears it too, which takes the garment out of the guidance: softer, and cfg moves the "
                    "prompt only.",
                ),
                io.Combo.Input(
                    "batch",
                    options=["broadcast", "one per image"],
                    default="broadcast",
                    tooltip="For a garment of several images. broadcast: every generated image wears them all, as "
                    "views of one thing. one per image: each wears one, over again when they run out.",
                ),
                MASK,
                io.String.Input(
                    "schedule",
                    default="constant",
                    optional=True,
                    tooltip=f"Strength over time, from start to end: {', '.join(SCHEDULES)}; or factors such as "
                    "0:1.0, 0.5:0.3 with straight lines between.",
                ),
            ],
            outputs=[DRESSED],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        garment: Garment,
        strength: float,
        start_percent: float,
        end_percent: float,
        layers: str,
        branches: Branches,
        batch: Batch,
        mask: Tensor | None = None,
        schedule: str = "constant",
    ) -> io.NodeOutput:
        require_applicable(model, garment, mask)
        worn = AppliedGarment(
            garment,
            strength,
            start_percent,
            end_percent,
            _masks(mask),
            parse_layers(layers),
            branches,
            batch,
            parse_schedule(schedule),
            node_id(cls),
        )
        return io.NodeOutput(apply_garment(model, worn))
