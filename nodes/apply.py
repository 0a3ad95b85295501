"""Putting a garment on a model."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..imagdressing_core.garment import Garment
from ..imagdressing_core.wearing import WornGarment
from .host.dressing import put_on
from .host.requirements import require_sd15
from .sockets import CATEGORY, SEARCH_ALIASES, IMAGDressingGarment


class ApplyGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingApply",
            display_name="Apply Garment",
            category=CATEGORY,
            description="The model generates a person who wears the garment. Several in a row add up to an outfit.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="Any SD1.5 model, before or after other nodes that patch it."),
                IMAGDressingGarment.Input("garment", tooltip="From Encode Garment."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    tooltip="How strongly the garment shows (λ of the paper). 0.7 to 1.2 is usual; too much looks "
                    "burnt and ignores the prompt. 0 switches it off.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the sampling the garment sets in. Later leaves the pose and scene to the prompt.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the sampling the garment leaves off. Earlier leaves fine detail to the prompt.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the generated picture the garment acts, white is where; any size, soft edges "
                    "allowed, one for all pictures or one for each.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model wearing the garment, for any sampler.")],
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
        require_sd15(model)
        return io.NodeOutput(put_on(model, WornGarment(garment, strength, start_percent, end_percent, mask)))
