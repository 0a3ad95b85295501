"""The paper's hybrid attention: frozen self-attention plus a second attention to the garment's keys and values."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .layers import LAYERS

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Multi-head softmax(QKᵀ/√d)V over (batch, tokens, C)."""


def hybrid_attention(
    self_attention: Tensor,
    q: Tensor,
    garment_k: Tensor,
    garment_v: Tensor,
    strength: float,
    attention: Attention,
    region: Tensor | None = None,
) -> Tensor:
    """Return Z = Attn(Q, K, V) + λ·Attn(Q, K', V'), paper Eq. 5, before the layer's shared output projection.

    self_attention: Attn(Q, K, V), (rows, tokens, C). Given rather than computed, since other patches may own it.
    q: the frozen layer's queries, (rows, tokens, C), shared by both terms.
    garment_k, garment_v: K' and V', (1, garment tokens, C) of one garment that every row sees, or (rows, …) of one
        each.
    strength: λ, 1.0 in training, 0 … 1.5 in the paper.
    region: share of each token in which the garment acts, (rows or 1, tokens, 1), 0 … 1; not in the paper.
    """
    # Queries do not see each other: those of one garment make one long row, and K' and V' need not be repeated.
    shared = len(garment_k) == 1
    term = attention(q.reshape(1, -1, q.shape[-1]) if shared else q, garment_k, garment_v).reshape(q.shape)
    if region is not None:
        term = term * region
    return self_attention + strength * term


def concatenated_attention(
    self_attention: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    garment_k: Tensor,
    garment_v: Tensor,
    strength: float,
    attention: Attention,
    region: Tensor | None = None,
) -> Tensor:
    """Return Attn(Q, [K; K'], [V; V']), MagicClothing's rule: one softmax over the image's tokens and the garment's.

    Written as Z = self_attention + λ·(Attn(Q, [K; K'], [V; V']) − Attn(Q, K, V)): at λ = 1 the rule itself, at 0
    nothing, and what other patches made of ``self_attention`` stays. Arguments as in :func:`hybrid_attention`.
    Source: official MagicClothing, attention_processor.py, its "write" processor.
    """
    garment_k, garment_v = (tensor.expand(len(q), -1, -1) for tensor in (garment_k, garment_v))
    joint = attention(q, torch.cat((k, garment_k), dim=1), torch.cat((v, garment_v), dim=1))
    term = joint - attention(q, k, v)
    if region is not None:
        term = term * region
    return self_attention + strength * term


class GarmentProjections(nn.ModuleDict):
    """K' = C_g W'_k and V' = C_g W'_v of every self-attention layer, the only new weights of hybrid attention.

    The state dict has the official keys (``adapter_modules.`` removed): ``<index>.to_k_ref.weight`` and
    ``<index>.to_v_ref.weight``, each (C, C).
    """

    def __init__(self, operations: Any = nn, channels: Mapping[int, int] | None = None) -> None:
        """channels: the width C of each layer by index, where the U-Net is not as wide as SD1.5's."""
        super().__init__()
        for layer in LAYERS:
            width = channels[layer.index] if channels else layer.channels
            self[str(layer.index)] = nn.ModuleDict(
                {name: operations.Linear(width, width, bias=False) for name in ("to_k_ref", "to_v_ref")}
            )

    def forward(self, features: Mapping[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Project garment features C_g, {layer index: (batch, tokens, C)}, to K' and V' by layer index."""
        keys = {index: self._project(index, "to_k_ref", c_g) for index, c_g in features.items()}
        values = {index: self._project(index, "to_v_ref", c_g) for index, c_g in features.items()}
        return keys, values

    def _project(self, index: int, name: str, c_g: Tensor) -> Tensor:
        return self.get_submodule(f"{index}.{name}")(c_g)
