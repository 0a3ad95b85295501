"""A Stable Diffusion 1.5 in miniature, in the official folder formats: the same 16 layers, a few channels wide.

Random until trained. For the trial and the tests.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.convert_slow_tokenizer import bytes_to_unicode

UNET_CHANNELS = (16, 24, 32, 32)
CONTEXT = 32
CLIP_CHANNELS = 48
LATENT_CHANNELS = 4
TEXT_TOKENS = 24


def tiny_unet() -> Any:
    return UNet2DConditionModel(
        block_out_channels=UNET_CHANNELS,  # pyright: ignore[reportArgumentType]
        attention_head_dim=4,  # the number of heads, as in SD1.5's configuration
        norm_num_groups=8,
        cross_attention_dim=CONTEXT,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        sample_size=16,
    )


def tiny_vae(channels: tuple[int, ...] = (8, 16)) -> Any:
    """Return a VAE that halves each side once for every entry of ``channels`` after the first."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),  # pyright: ignore[reportArgumentType]
        up_block_types=("UpDecoderBlock2D",) * len(channels),  # pyright: ignore[reportArgumentType]
        block_out_channels=channels,  # pyright: ignore[reportArgumentType]
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        layers_per_block=1,
        scaling_factor=0.5,
    )


def tiny_text_encoder() -> nn.Module:
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=CONTEXT,
        intermediate_size=2 * CONTEXT,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TEXT_TOKENS,
        bos_token_id=512,
        eos_token_id=513,
    )
    return CLIPTextModel(config)


def tiny_tokenizer() -> Any:
    """Return CLIP's tokenizer with letters for words: 256 bytes, 256 bytes that end a word, start and end."""
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TEXT_TOKENS)


def tiny_image_encoder() -> nn.Module:
    """Return a CLIP vision model for 224 × 224 pixels that makes 17 tokens."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=CLIP_CHANNELS,
            intermediate_size=2 * CLIP_CHANNELS,
            num_hidden_layers=2,
            num_attention_heads=4,
            patch_size=56,
            projection_dim=16,
            hidden_act="gelu",
        )
    )


def save_tiny_models(folder: Path, seed: int = 0) -> None:
    """Write ``folder/{unet,vae,text_encoder,tokenizer,image_encoder}``, random, the same for the same seed."""
    torch.manual_seed(seed)
    for name, model in {
        "unet": tiny_unet(),
        "vae": tiny_vae(),
        "text_encoder": tiny_text_encoder(),
        "tokenizer": tiny_tokenizer(),
        "image_encoder": tiny_image_encoder(),
    }.items():
        model.save_pretrained(str(folder / name))
