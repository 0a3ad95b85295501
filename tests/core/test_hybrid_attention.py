"""Hybrid attention against the paper's Eq. 5, written out in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from imagdressing_core.model.garment import LayerKV
from imagdressing_core.model.hybrid_attention import GarmentProjections, hybrid_attention
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.model.magic_clothing import concatenated_attention

HEADS = 8


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(QKᵀ/√d)V head by head."""
    size = q.shape[-1] // HEADS
    heads = zip(*(t.double().split(size, dim=-1) for t in (q, k, v)), strict=True)
    return torch.cat([(a @ b.mT / size**0.5).softmax(dim=-1) @ c for a, b, c in heads], dim=-1)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = {"q": (3, 12, 64), "k": (3, 12, 64), "v": (3, 12, 64), "garment_k": (1, 7, 64), "garment_v": (1, 7, 64)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 1.5, -0.3])
def test_hybrid_attention_is_equation_5(tensors: dict[str, Tensor], strength: float):
    q, k, v, garment_k, garment_v = tensors.values()
    ours = hybrid_attention(attention(q, k, v), q, LayerKV(garment_k, garment_v), strength, attention)
    expected = written_out(q, k, v) + strength * written_out(q, garment_k, garment_v)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_concatenated_attention_goes_from_no_garment_to_one_softmax_over_both(
    tensors: dict[str, Tensor], strength: float
):
    q, k, v, garment_k, garment_v = tensors.values()
    ours = concatenated_attention(attention(q, k, v), q, k, v, garment_k, garment_v, strength, attention)
    concatenated = written_out(
        q, torch.cat((k, garment_k.expand(3, -1, -1)), 1), torch.cat((v, garment_v.expand(3, -1, -1)), 1)
    )
    expected = (1 - strength) * written_out(q, k, v) + strength * concatenated
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", [hybrid_attention, concatenated_attention])
def test_a_mask_weighs_the_garments_part_token_by_token(tensors: dict[str, Tensor], rule: Any):
    q, k, v, garment_k, garment_v = tensors.values()
    hybrid = rule is hybrid_attention
    own = (q, LayerKV(garment_k, garment_v)) if hybrid else (q, k, v, garment_k, garment_v)
    mask = torch.rand(3, 12, 1, generator=torch.Generator().manual_seed(6))
    plain = attention(q, k, v)
    whole = rule(plain, *own, 0.7, attention)
    masked = rule(plain, *own, 0.7, attention, mask)
    torch.testing.assert_close(masked, plain + mask * (whole - plain), rtol=1e-5, atol=1e-5)


def test_the_projections_have_the_official_keys_and_are_plain_products():
    projections = GarmentProjections()
    assert set(projections.state_dict()) == {
        f"{index}.to_{name}_ref.weight" for index in range(0, 32, 2) for name in "kv"
    }
    features = {layer.index: torch.randn(2, 3, layer.channels) for layer in LAYERS}
    projected = projections(features)
    for layer in LAYERS:
        for name, ours in projected[layer.index].tensors.items():
            weight = projections.state_dict()[f"{layer.index}.to_{name}_ref.weight"]
            torch.testing.assert_close(ours, features[layer.index] @ weight.T, rtol=1e-4, atol=1e-4)
