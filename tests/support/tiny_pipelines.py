"""Pipelines of diffusers with a few channels and random weights, to be saved in the official folder layouts."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from imagdressing_core.on_diffusers.unet import garment_model
from imagdressing_core.training import tiny_models
from imagdressing_core.training.tiny_models import CLIP_CHANNELS, CONTEXT, UNET_CHANNELS
from support.synthetic_weights import synthetic_tensor


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


def save_controlnet(folder: Path, unet: Any) -> None:
    """Write a ControlNet for ``unet`` that has an effect: layers that are zeros until they are trained are random."""
    from diffusers import ControlNetModel  # pyright: ignore[reportPrivateImportUsage]

    control: Any = ControlNetModel.from_unet(unet)
    for layer in (*control.controlnet_down_blocks, control.controlnet_cond_embedding.conv_out):
        nn.init.normal_(layer.weight)
    control.save_pretrained(str(folder))


def save_checkpoint(path: Path) -> None:
    """Write random trained parts that fit :func:`tiny_unet`."""
    trained = garment_model(tiny_models.tiny_unet(), CLIP_CHANNELS).state_dict()
    save_file({key: one.contiguous().clone() for key, one in trained.items()}, path)


def ip_adapter(pipeline: Any, folder: Path) -> None:
    """Save a random IP-Adapter-Plus for a pipeline as h94/IP-Adapter is laid out."""
    shapes = _resampler_shapes(64, CLIP_CHANNELS, CONTEXT)
    # Every second attention processor is of a cross-attention; the official files number all of them.
    for number, name in enumerate(pipeline.unet.attn_processors):
        if number % 2:
            attention = pipeline.unet.get_submodule(name.removesuffix(".processor"))
            for part in ("k", "v"):
                shapes[f"ip_adapter.{number}.to_{part}_ip.weight"] = tuple(
                    getattr(attention, f"to_{part}").weight.shape
                )
    models = folder / "models"
    encoder: Any = tiny_models.tiny_image_encoder()
    encoder.save_pretrained(str(models / "image_encoder"))
    state = {key: synthetic_tensor(key, shape) for key, shape in shapes.items()}
    save_file(state, models / "ip-adapter-plus_sd15.safetensors")


def _resampler_shapes(width: int, clip_width: int, context: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"latents": (1, 16, width), "proj_in.weight": (width, clip_width)}
    shapes |= {"proj_in.bias": (width,), "proj_out.weight": (context, width), "proj_out.bias": (context,)}
    norms = []
    for i in range(4):
        layer = f"layers.{i}"
        norms += [f"{layer}.0.norm1", f"{layer}.0.norm2", f"{layer}.1.0"]
        shapes |= {f"{layer}.0.to_q.weight": (width, width), f"{layer}.0.to_kv.weight": (2 * width, width)}
        shapes |= {f"{layer}.0.to_out.weight": (width, width)}
        shapes |= {f"{layer}.1.1.weight": (4 * width, width), f"{layer}.1.3.weight": (width, 4 * width)}
    shapes |= {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}
    shapes |= {"norm_out.weight": (context,), "norm_out.bias": (context,)}
    return {f"image_proj.{key}": shape for key, shape in shapes.items()}


def versatile_diffusion(folder: Path) -> None:
    """Save a Versatile Diffusion in miniature, part by part, as shi-labs/versatile-diffusion is laid out."""
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(0)
    layers: dict[str, Any] = {"hidden_size": CONTEXT, "num_hidden_layers": 2, "num_attention_heads": 4}
    layers |= {"intermediate_size": 2 * CONTEXT, "projection_dim": CONTEXT}
    words: dict[str, Any] = {"vocab_size": 514, "max_position_embeddings": 24, "bos_token_id": 512, "eos_token_id": 513}
    unet: dict[str, Any] = {"block_out_channels": UNET_CHANNELS, "attention_head_dim": 4, "norm_num_groups": 8}
    parts: dict[str, Any] = {
        "tokenizer": tiny_models.tiny_tokenizer(),
        "text_encoder": CLIPTextModelWithProjection(CLIPTextConfig(**layers, **words)),
        "image_feature_extractor": CLIPImageProcessor(),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**layers, patch_size=56)),
        "image_unet": tiny_models.tiny_unet(),
        "text_unet": UNetFlatConditionModel(**unet, cross_attention_dim=CONTEXT, sample_size=8),
        "vae": tiny_models.tiny_vae((8, 8, 8, 16)),
        "scheduler": scheduler(),
    }
    for name, part in parts.items():
        part.save_pretrained(str(folder / name))
