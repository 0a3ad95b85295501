"""ComfyUI's attention function, called in blocks of queries where it would hold all scores in memory at once."""

from functools import partial
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import torch
from torch import Tensor

BLOCK_BYTES = 24 * 2**20
"""Scores of one block: below 32 MiB the C library keeps the memory for the next block, above it the system takes it
back and clears it anew each time."""

BREAKING_GRAPHS = ("attention_sub_quad", "attention_split")
"""Attention functions of ComfyUI's that ask for free memory, which no compiler can trace."""


def breaks_graphs() -> bool:
    """Return whether ComfyUI's attention function breaks a compiled graph of the U-Net apart."""
    return comfy.ldm.modules.attention.optimized_attention.__name__ in BREAKING_GRAPHS


def attend(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    """Return softmax(QKᵀ/√d)V, (batch, tokens, C), of the attention function that ComfyUI was started with.

    On the CPU ComfyUI by default holds the scores of 4096 queries × all keys, 1.3 GB at 512 × 640. Queries attend
    independently, so blocks give the same result and need little memory (``docs/performance.md``).
    options: the ``extra_options`` that ComfyUI passes to an attention patch.
    """
    heads = options["n_heads"]
    function = comfy.ldm.modules.attention.optimized_attention
    attention = partial(
        function,
        heads=heads,
        attn_precision=options.get("attn_precision"),  # blocks of other nodes leave it out
        transformer_options=options,
    )
    if _may_write(function, options):
        return attention(q.clone(), k.clone(), v.clone())
    block = _queries_per_block(q, k, heads, options)
    if block >= q.shape[1]:
        return attention(q, k, v)
    # (batch, heads, tokens, d); HyperTile cuts the images of q into more rows and leaves those of k and v
    q, k, v = (t.reshape(len(q), -1, heads, q.shape[-1] // heads).transpose(1, 2).contiguous() for t in (q, k, v))
    return torch.cat([attention(part, k, v, skip_reshape=True) for part in q.split(block, dim=2)], dim=1)


def _may_write(function: Any, options: dict[str, Any]) -> bool:
    """Return whether the attention is another pack's, which may write into q, k and v, as SageAttention's smoothing."""
    own = function.__module__ == comfy.ldm.modules.attention.__name__
    return "optimized_attention_override" in options or not own or comfy.model_management.sage_attention_enabled()


def _queries_per_block(q: Tensor, k: Tensor, heads: int, options: dict[str, Any]) -> int:
    """Return how many queries to attend with at once; all of them where the attention is not ComfyUI's own kind."""
    blockwise_itself = comfy.model_management.pytorch_attention_enabled()
    if q.device.type != "cpu" or blockwise_itself:
        return q.shape[1]
    return max(1, BLOCK_BYTES // (heads * k.shape[0] * k.shape[1] * q.element_size()))
