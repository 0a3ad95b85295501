"""Applying a garment to a model."""

from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..imagdressing_core.application.applied_garment import AppliedGarment, Batch, Branches
from ..imagdressing_core.application.strengths import LAYER_PRESETS, SCHEDULES, parse_layers, parse_schedule
from ..imagdressing_core.model.garment import Garment
from ..imagdressing_core.model.mask import as_masks
from .comfyui.feedback import node_id, say
from .comfyui.requirements import require_applicable
from .comfyui.wires import require_option, require_text
from .comfyui.wrappers import apply_garment
from .sockets import CATEGORY, SEARCH_ALIASES, IMAGDressingGarment, check_texts, preset_input

BRANCHES, BATCHES = get_args(Branches), get_args(Batch)
MODEL = io.Model.Input("model", tooltip="Any SD1.5 model, before or after other nodes that patch it.")
GARMENT = IMAGDressingGarment.Input("garment", tooltip="From Encode Garment, Load Garment or Join Garments.")
STRENGTH = io.Float.Input(
    "strength",
    default=1.0,
    min=0.0,
    max=5.0,
    step=0.05,
    tooltip="How strongly the garment shows (λ in the paper). 0.7 to 1.2 is usual; too much looks burnt and ignores "
    "the prompt. 0 switches it off.",
)
START = io.Float.Input(
    "start_percent",
    default=0.0,
    min=0.0,
    max=1.0,
    step=0.01,
    advanced=True,
    tooltip="The point in the sampling at which the garment begins to act. A later start leaves pose and scene to the "
    "prompt.",
)
END = io.Float.Input(
    "end_percent",
    default=1.0,
    min=0.0,
    max=1.0,
    step=0.01,
    advanced=True,
    tooltip="The point in the sampling at which the garment stops. An earlier end leaves fine detail to the prompt.",
)
MASK = io.Mask.Input(
    "mask",
    optional=True,
    tooltip="White marks where in the generated image the garment acts. Any size, soft edges allowed; one mask for "
    "all images, or one for each.",
)
WITH_GARMENT = io.Model.Output(tooltip="The model with the garment, for any sampler.")


def _with_garment(model: Any, applied: AppliedGarment) -> io.NodeOutput:
    start, end = applied.start_percent, applied.end_percent
    text = (
        f"The garment never acts: it begins at {start:g} and ends at {end:g}. Set start_percent below end_percent, or "
        "bypass this node."
    )
    say(text if applied.strength and start >= end else "", applied.label)
    return io.NodeOutput(apply_garment(model, applied))


def _masks(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else as_masks(mask)


class ApplyGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingApply",
            display_name="Apply Garment",
            category=CATEGORY,
            description="Makes the model generate a person who wears the garment. For an outfit, use several in a row.",
            search_aliases=SEARCH_ALIASES,
            inputs=[MODEL, GARMENT, STRENGTH, START, END, MASK],
            outputs=[WITH_GARMENT],
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
        applied = AppliedGarment(
            garment=garment,
            strength=strength,
            start_percent=start_percent,
            end_percent=end_percent,
            mask=_masks(mask),
            label=node_id(cls),
        )
        return _with_garment(model, applied)


class ApplyGarmentAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingApplyAdvanced",
            display_name="Apply Garment (Advanced)",
            category=CATEGORY,
            description="Apply Garment with a strength for each layer, point in time, branch and image of a batch.",
            search_aliases=["layer weights", "strength schedule"],
            inputs=[
                MODEL,
                GARMENT,
                STRENGTH,
                START,
                END,
                preset_input(
                    "layers",
                    LAYER_PRESETS,
                    default="all",
                    tooltip=f"The layers of the U-Net in which the garment acts: {', '.join(LAYER_PRESETS)}; or "
                    "weights for layers 0 to 15 (0-5 down, 6-14 up, 15 middle) such as 0:1.0, 5:0.5, where all others "
                    "get 0. texture is the high-resolution layers, shape the low-resolution ones.",
                ),
                io.Combo.Input(
                    "branches",
                    options=list(BRANCHES),
                    default="conditional",
                    tooltip="conditional: only the positive prompt gets the garment, as in the paper. both: the "
                    "negative prompt gets it too; the result is softer, and cfg strengthens only the prompt.",
                ),
                io.Combo.Input(
                    "batch",
                    options=list(BATCHES),
                    default="broadcast",
                    tooltip="For a garment of several images. broadcast: every generated image gets all of them, as "
                    "views of one garment. one per image: each gets its own; when they run out, they start over.",
                ),
                MASK,
                preset_input(
                    "schedule",
                    SCHEDULES,
                    default="constant",
                    optional=True,
                    tooltip=f"How the strength changes from start to end: {', '.join(SCHEDULES)}; or points such as "
                    "0:1.0, 0.5:0.3, joined by straight lines.",
                ),
            ],
            outputs=[WITH_GARMENT],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, layers: str | None = None, schedule: str | None = None) -> bool | str:
        return check_texts((parse_layers, layers), (parse_schedule, schedule))

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
        require_text("layers", layers)
        require_text("schedule", schedule)
        require_option("branches", branches, BRANCHES)
        require_option("batch", batch, BATCHES)
        applied = AppliedGarment(
            garment=garment,
            strength=strength,
            start_percent=start_percent,
            end_percent=end_percent,
            mask=_masks(mask),
            layers=parse_layers(layers),
            branches=branches,
            batch=batch,
            schedule=parse_schedule(schedule),
            label=node_id(cls),
        )
        return _with_garment(model, applied)
