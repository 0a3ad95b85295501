"""The paper's hybrid attention: frozen self-attention plus a second attention to the garment's keys and values."""

from collections.abc import Callable, Mapping
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from .garment import LayerKV
from .layers import LAYERS

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Multi-head softmax(QKᵀ/√d)V over (batch, tokens, C)."""


def hybrid_attention(
    self_attention: Tensor,
    q: Tensor,
    garment: LayerKV,
    strength: float,
    attention: Attention,
    mask: Tensor | None = None,
) -> Tensor:
    """Return Z = Attn(Q, K, V) + λ·Attn(Q, K', V'), paper Eq. 5, before the layer's shared output projection.

    Args:
        self_attention: Attn(Q, K, V), (rows, tokens, C). Given rather than computed, since other patches may own it.
        q: the frozen layer's queries, (rows, tokens, C), shared by both terms.
        garment: K' and V', (1, garment tokens, C) of one garment that every row sees, or (rows, …) of one for each.
        strength: λ, 1.0 in training, 0 … 1.5 in the paper.
        attention: the attention function of the U-Net.
        mask: share of each token in which the garment acts, (rows or 1, tokens, 1), 0 … 1; not in the paper.
    """
    return add_term(self_attention, garment_attention(q, garment, attention), strength, mask)


def garment_attention(q: Tensor, garment: LayerKV, attention: Attention) -> Tensor:
    """Return Attn(Q, K', V'), (rows, tokens, C), the second term of Eq. 5. Arguments as in :func:`hybrid_attention`."""
    if len(garment.k) > 1:
        return attention(q, garment.k, garment.v)
    # Queries attend independently. If all rows share one garment, treat them as one long sequence; K' and V' then need
    # not be copied for each row.
    as_one_row = rearrange(q, "rows tokens c -> 1 (rows tokens) c")
    return rearrange(attention(as_one_row, garment.k, garment.v), "1 (rows tokens) c -> rows tokens c", rows=len(q))


def add_term(self_attention: Tensor, term: Tensor, strength: float, mask: Tensor | None = None) -> Tensor:
    """Return Z + λ·term where the mask lets it act."""
    return self_attention + strength * (term if mask is None else term * mask)


def add_in_place(self_attention: Tensor, term: Tensor, strength: float | Tensor) -> None:
    """Add λ·term to Z in place: :func:`add_term` in one pass over the memory.

    strength: λ; in a compiled graph a tensor of one value, since the graph would keep a float as a constant.
    """
    if isinstance(strength, Tensor):
        self_attention.addcmul_(term, strength.to(term.dtype))
    else:
        self_attention.add_(term, alpha=strength)


class GarmentProjection(nn.Module):
    """W'_k and W'_v of one self-attention layer, each (C, C)."""

    def __init__(self, channels: int, operations: Any = nn) -> None:
        super().__init__()
        self.to_k_ref = operations.Linear(channels, channels, bias=False)
        self.to_v_ref = operations.Linear(channels, channels, bias=False)

    def forward(self, c_g: Tensor) -> LayerKV:
        """Return K' = C_g W'_k and V' = C_g W'_v of garment features C_g, (batch, tokens, C)."""
        return LayerKV(k=self.to_k_ref(c_g), v=self.to_v_ref(c_g))


class GarmentProjections(nn.ModuleDict):
    """The garment projections of all self-attention layers, the only new weights of hybrid attention.

    The state dict has the official keys (``adapter_modules.`` removed): ``<index>.to_k_ref.weight`` and
    ``<index>.to_v_ref.weight``.
    """

    def __init__(self, operations: Any = nn, channels: Mapping[int, int] | None = None) -> None:
        """channels: the width C of each layer by index, where the U-Net is not as wide as SD1.5's."""
        super().__init__()
        for layer in LAYERS:
            width = channels[layer.index] if channels else layer.channels
            self[str(layer.index)] = GarmentProjection(width, operations)

    def forward(self, features: Mapping[int, Tensor]) -> dict[int, LayerKV]:
        """Project garment features C_g, {layer index: (batch, tokens, C)}, to K' and V' by layer index."""
        return {index: self.project(index, c_g) for index, c_g in features.items()}

    def project(self, index: int, c_g: Tensor) -> LayerKV:
        """Return K' and V' of one layer."""
        return self[str(index)](c_g)
