"""The trial's tiny models, as the tests and benchmarks name them."""

from imagdressing_core.training.tiny_models import (
    CLIP_CHANNELS,
    CONTEXT,
    LATENT_CHANNELS,
    TEXT_TOKENS,
    UNET_CHANNELS,
    save_tiny_models,
    tiny_image_encoder,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)

__all__ = [
    "CLIP_CHANNELS",
    "CONTEXT",
    "LATENT_CHANNELS",
    "TEXT_TOKENS",
    "UNET_CHANNELS",
    "save_tiny_models",
    "tiny_image_encoder",
    "tiny_text_encoder",
    "tiny_tokenizer",
    "tiny_unet",
    "tiny_vae",
]
