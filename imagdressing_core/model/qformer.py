"""The paper's Q-Former: 16 learnt queries read CLIP's view of the garment and become the garment U-Net's context.

The official file calls it ``proj`` and its class ``Resampler``: IP-Adapter-Plus' resampler, not BLIP-2's Q-Former.
"""

from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

CLIP_TOKENS = 257
CLIP_CHANNELS = 1280  # ViT-H/14


class PerceiverAttention(nn.Module):
    """The queries attend to the image's tokens and to themselves."""

    def __init__(self, channels: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = operations.LayerNorm(channels)
        self.norm2 = operations.LayerNorm(channels)
        self.to_q = operations.Linear(channels, channels, bias=False)
        self.to_kv = operations.Linear(channels, 2 * channels, bias=False)
        self.to_out = operations.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        x, queries = self.norm1(x), self.norm2(queries)
        q = self.to_q(queries)
        k, v = self.to_kv(torch.cat((x, queries), dim=1)).chunk(2, dim=-1)
        # Contiguous: on Macs, some releases of PyTorch compute a wrong attention of views.
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads).contiguous() for t in (q, k, v))
        return self.to_out(rearrange(scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


def feed_forward(channels: int, operations: Any) -> nn.Sequential:
    return nn.Sequential(
        operations.LayerNorm(channels),
        operations.Linear(channels, 4 * channels, bias=False),
        nn.GELU(),
        operations.Linear(4 * channels, channels, bias=False),
    )


class QFormer(nn.Module):
    """CLIP hidden states (batch, 257, 1280) → garment tokens (batch, 16, 768).

    The state dict has the official keys (``proj.`` removed). ``operations`` supplies ``Linear`` and ``LayerNorm``
    (default ``torch.nn``), so that ComfyUI can bring layers that cast and offload their weights.
    Source: official adapter/resampler.py, ``Resampler(dim=768, depth=4, heads=12, num_queries=16, ...)``.
    """

    def __init__(
        self,
        channels: int = 768,
        depth: int = 4,
        heads: int = 12,
        queries: int = 16,
        embedding_channels: int = CLIP_CHANNELS,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, queries, channels))
        self.proj_in = operations.Linear(embedding_channels, channels)
        self.layers = nn.ModuleList(
            nn.ModuleList((PerceiverAttention(channels, heads, operations), feed_forward(channels, operations)))
            for _ in range(depth)
        )
        self.proj_out = operations.Linear(channels, channels)
        self.norm_out = operations.LayerNorm(channels)

    def forward(self, clip_hidden: Tensor) -> Tensor:
        x = self.proj_in(clip_hidden)  # (batch, 257, 768)
        queries = self.latents.to(x).expand(len(x), -1, -1)  # (batch, 16, 768)
        for layer in self.layers:
            attention, mlp = cast(nn.ModuleList, layer)
            queries = queries + attention(x, queries)
            queries = queries + mlp(queries)
        return self.norm_out(self.proj_out(queries))
