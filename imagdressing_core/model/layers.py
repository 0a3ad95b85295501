"""The 16 self-attention layers of the SD1.5 U-Net, as every format that meets here names them."""

from dataclasses import dataclass
from typing import Literal

BlockName = Literal["input", "middle", "output"]
LEVEL_CHANNELS = (320, 640, 1280, 1280)
"""Width of SD1.5's U-Net by level. Each level halves the token grid of the one before."""


@dataclass(frozen=True)
class SelfAttentionLayer:
    """One self-attention layer ("attn1") of the SD1.5 U-Net.

    index: position in the official ``ModuleList(unet.attn_processors.values())``; the checkpoint's
        ``adapter_modules.<index>``. Odd positions are the cross-attention layers.
    diffusers_name: the layer's transformer block in a diffusers state dict.
    block: the ``transformer_options["block"]`` under which ComfyUI runs it.
    channels: width C of the tokens.
    level: its token grid is the latent's, halved (rounding up) ``level`` times.
    """

    index: int
    diffusers_name: str
    block: tuple[BlockName, int]
    channels: int
    level: int

    @property
    def ldm_name(self) -> str:
        """The layer's transformer block as a submodule of ComfyUI's ``UNetModel``."""
        name, number = self.block
        path = "middle_block.1" if name == "middle" else f"{name}_blocks.{number}.1"
        return f"{path}.transformer_blocks.0"

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of this layer's tokens for a latent of ``height`` × ``width``."""
        for _ in range(self.level):
            height, width = (height + 1) // 2, (width + 1) // 2
        return height, width


def _layer(index: int, attention: str, block: tuple[BlockName, int], level: int) -> SelfAttentionLayer:
    return SelfAttentionLayer(index, f"{attention}.transformer_blocks.0", block, LEVEL_CHANNELS[level], level)


# Order of the official file: down, up, then mid, because diffusers registers mid_block last.
LAYERS: tuple[SelfAttentionLayer, ...] = (
    _layer(0, "down_blocks.0.attentions.0", ("input", 1), level=0),
    _layer(2, "down_blocks.0.attentions.1", ("input", 2), level=0),
    _layer(4, "down_blocks.1.attentions.0", ("input", 4), level=1),
    _layer(6, "down_blocks.1.attentions.1", ("input", 5), level=1),
    _layer(8, "down_blocks.2.attentions.0", ("input", 7), level=2),
    _layer(10, "down_blocks.2.attentions.1", ("input", 8), level=2),
    _layer(12, "up_blocks.1.attentions.0", ("output", 3), level=2),
    _layer(14, "up_blocks.1.attentions.1", ("output", 4), level=2),
    _layer(16, "up_blocks.1.attentions.2", ("output", 5), level=2),
    _layer(18, "up_blocks.2.attentions.0", ("output", 6), level=1),
    _layer(20, "up_blocks.2.attentions.1", ("output", 7), level=1),
    _layer(22, "up_blocks.2.attentions.2", ("output", 8), level=1),
    _layer(24, "up_blocks.3.attentions.0", ("output", 9), level=0),
    _layer(26, "up_blocks.3.attentions.1", ("output", 10), level=0),
    _layer(28, "up_blocks.3.attentions.2", ("output", 11), level=0),
    _layer(30, "mid_block.attentions.0", ("middle", 0), level=3),
)

# The U-Net runs down, mid, up: after this layer has its input, nothing more is needed of the garment U-Net.
LAST_TO_RUN = next(layer for layer in LAYERS if layer.block == ("output", 11))
