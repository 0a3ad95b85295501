"""Everything that MagicClothing, a row of the paper's table, does differently. Its checkpoints run in the same nodes.

Its garment U-Net reads the empty prompt in place of Q-Former tokens, and the denoising U-Net's own projections make
keys and values of C_g, over which self-attention runs as over more tokens of the image.
Source: github.com/ShineChen1024/MagicClothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..images.preprocess import FITS, Preprocessing, fit_squash
from .garment import GarmentImage, GarmentLayer
from .hybrid_attention import Attention, add_term

SOURCE = "huggingface.co/ShineChen1024/MagicClothing"
BARE_UNET_KEY = "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_k.weight"  # a checkpoint is a bare U-Net
STABLE_UNET, STABLE_PROJECTIONS = "garment_extractor", "ip_layer.pth"  # the "stable" form has projections of its own
PREPROCESSING = Preprocessing(background="grey", fits=FITS | {"official": fit_squash}, clip_sees_it=False)


@dataclass(frozen=True, eq=False)
class LayerFeatures(GarmentLayer):
    """C_g of one layer, (1, tokens, C), for the denoising U-Net's own projections."""

    c: Tensor


def concatenated_attention(
    self_attention: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    garment_k: Tensor,
    garment_v: Tensor,
    strength: float,
    attention: Attention,
    mask: Tensor | None = None,
) -> Tensor:
    """Return Attn(Q, [K; K'], [V; V']), MagicClothing's rule: one softmax over the image's and the garment's tokens.

    Written as Z = self_attention + λ·(Attn(Q, [K; K'], [V; V']) − Attn(Q, K, V)): at λ = 1 the rule itself, at 0
    nothing, and what other patches made of ``self_attention`` stays.
    Source: official attention_processor.py, its "write" processor.

    Args:
        self_attention, q, k, v: of the image, (rows, tokens, C).
        garment_k, garment_v: K' and V', (1 or rows, garment tokens, C).
        strength, attention, mask: as in :func:`.hybrid_attention.hybrid_attention`.
    """
    term = concatenated_difference(q, k, v, garment_k, garment_v, attention)
    return add_term(self_attention, term, strength, mask)


def concatenated_difference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    garment_k: Tensor,
    garment_v: Tensor,
    attention: Attention,
    plain: Tensor | None = None,
) -> Tensor:
    """Return Attn(Q, [K; K'], [V; V']) − Attn(Q, K, V), the term of :func:`concatenated_attention`; arguments as there.

    plain: Attn(Q, K, V), if it has been computed before.
    """
    garment_k, garment_v = (tensor.expand(len(q), -1, -1) for tensor in (garment_k, garment_v))
    concatenated = attention(q, torch.cat((k, garment_k), dim=1), torch.cat((v, garment_v), dim=1))
    plain = attention(q, k, v) if plain is None else plain
    return concatenated - plain if concatenated.requires_grad else concatenated.sub_(plain)


def blank(image: GarmentImage) -> GarmentImage:
    """Return the same number of tokens, all zero: the unconditional branch sees them in place of the garment."""
    return image.map(lambda _, tensor: torch.zeros_like(tensor))


def official_names(projections: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the "stable" form's projections under IMAGDressing's names."""
    return {str(key).replace("_ip.", "_ref."): value for key, value in projections.items()}
