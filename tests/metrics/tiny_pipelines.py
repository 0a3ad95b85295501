"""Pipelines of diffusers with a few channels and random weights, to be saved in the official folder layouts."""

from typing import Any

import tiny_models
import torch


def scheduler() -> Any:
    from diffusers import DDIMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


def stable_diffusion() -> Any:
    """Return an SD1.5 in miniature; its up blocks and scheduler stand for SD2.1's as well."""
    from diffusers import StableDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]

    torch.manual_seed(0)
    return StableDiffusionPipeline(
        vae=tiny_models.tiny_vae((8, 8, 8, 16)),
        text_encoder=tiny_models.tiny_text_encoder(),  # pyright: ignore[reportArgumentType]
        tokenizer=tiny_models.tiny_tokenizer(),
        unet=tiny_models.tiny_unet(),
        scheduler=scheduler(),
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
