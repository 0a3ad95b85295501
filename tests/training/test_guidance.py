"""Sampling outside ComfyUI against Eq. 7 written out, step by step, on tiny models in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from imagdressing_core.model.garment import LayerKV
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.on_diffusers.pipeline import denoise, official_scheduler
from imagdressing_core.on_diffusers.unet import GarmentInputs, HybridAttnProcessor, noise_prediction
from imagdressing_core.training.config import Models
from imagdressing_core.training.model import load_models
from imagdressing_core.training.tiny_models import CLIP_CHANNELS, CONTEXT, TEXT_TOKENS

STEPS = 4


@pytest.mark.parametrize("guidance", [7.5, 1.0, 0.5])
@pytest.mark.parametrize("by_euler", [False, True])
def test_sampling_is_eq_7_with_the_garment_in_the_first_term_only(models: Path, guidance: float, by_euler: bool):
    from diffusers import EulerDiscreteScheduler  # pyright: ignore[reportPrivateImportUsage]

    frozen, trained = load_models(Models(base=models, image_encoder=models / "image_encoder"))
    unet, trained = frozen.unet.double(), trained.double()
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    noise, text, negative = normal(2, 4, 8, 8), normal(2, TEXT_TOKENS, CONTEXT), normal(2, TEXT_TOKENS, CONTEXT)
    official = official_scheduler()
    scheduler: Any = EulerDiscreteScheduler.from_config(official.config) if by_euler else official
    with torch.no_grad():
        garment = GarmentInputs(trained(normal(1, 4, 8, 8), normal(1, 17, CLIP_CHANNELS)), strength=0.8)
        sampled = denoise(unet, noise, text, negative, garment, scheduler, STEPS, guidance)
        scheduler = type(scheduler).from_config(scheduler.config)
        scheduler.set_timesteps(STEPS)
        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t)
            with_garment = noise_prediction(unet, seen, t, text, garment)
            without = noise_prediction(unet, seen, t, negative)
            x = scheduler.step(guidance * with_garment + (1 - guidance) * without, t, x).prev_sample
    assert float((sampled - x).norm() / x.norm()) < 1e-9
    assert float((sampled - noise).norm()) > 0.1


def test_rows_with_and_without_a_garment_can_be_trained_through():
    processor: Any = HybridAttnProcessor(LAYERS[0].index)
    attention = Attention(64, heads=2, dim_head=32, processor=processor)
    layer = LayerKV(torch.randn(1, 5, 64), torch.randn(1, 5, 64))
    x = torch.randn(2, 6, 64, requires_grad=True)
    both = attention(x, garment=GarmentInputs({LAYERS[0].index: layer}, first_row=1))
    both.sum().backward()
    assert torch.equal(both[:1], attention(x[:1]))
    assert torch.equal(both[1:], attention(x[1:], garment=GarmentInputs({LAYERS[0].index: layer})))
    assert x.grad is not None and bool(x.grad.abs().sum((1, 2)).gt(0).all())
