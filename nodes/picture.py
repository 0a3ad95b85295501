"""Work on the finished picture."""

from comfy_api.latest import io
from torch import Tensor

from ..imagdressing_core.paste import paste_back
from .sockets import CATEGORY, SEARCH_ALIASES


class PasteBack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingPasteBack",
            display_name="Paste Back",
            category=CATEGORY,
            description="Puts the generated part into the original picture; nothing outside the mask changes.",
            search_aliases=[*SEARCH_ALIASES, "composite", "stitch"],
            inputs=[
                io.Image.Input("original", tooltip="The picture before, which sets the size."),
                io.Image.Input("generated", tooltip="The same scene, generated; resized to the original."),
                io.Mask.Input("mask", tooltip="White is where the generated picture shows."),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Pixels inside the mask's edge over which the one fades into the other.",
                ),
                io.Boolean.Input(
                    "match_color",
                    default=False,
                    tooltip="Give the generated picture the colours that the original has outside the mask.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The original with the generated part in it.")],
        )

    @classmethod
    def execute(
        cls, original: Tensor, generated: Tensor, mask: Tensor, feather: int, match_color: bool
    ) -> io.NodeOutput:
        return io.NodeOutput(paste_back(original, generated, mask, feather, match_color))
