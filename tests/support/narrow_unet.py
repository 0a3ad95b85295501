"""SD1.5's U-Net in ComfyUI's own classes, a few channels wide: the same blocks, names and dispatch. Random weights.

A step takes a hundredth of the full model's time, so that every combination with another node can be tried.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from support import comfyui_process as comfyui

CHANNELS = 64
SD15_CHANNELS = 320
RESIDUAL = 0.3
ENDS_OF_RESIDUALS = ("proj_out", "out_layers.3", "to_out.0", "ff.net.2")
SD15 = {
    "use_checkpoint": False,
    "image_size": 32,
    "out_channels": 4,
    "use_spatial_transformer": True,
    "legacy": False,
    "adm_in_channels": None,
    "in_channels": 4,
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "channel_mult": [1, 1, 1, 1],  # SD1.5: 1, 2, 4, 4
    "transformer_depth_middle": 1,
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "num_heads": 8,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}


@cache
def narrow_model(dtype: torch.dtype = torch.float32, seed: int = 0, channels: int = CHANNELS) -> Any:
    """Return the MODEL, one for the whole process and each seed.

    channels: of every level. ComfyUI's name for SD1.5's 320 is left in the configuration, which nodes know it by.
    """
    comfyui.start()
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.SD15(SD15 | {"dtype": dtype, "model_channels": channels})
    config.set_inference_dtype(dtype, None)
    model = comfy.model_base.BaseModel(config)
    config.unet_config["model_channels"] = SD15_CHANNELS
    with torch.inference_mode():
        for number, (name, weight) in enumerate(model.diffusion_model.named_parameters(), seed):
            weight.copy_(_weight(name, tuple(weight.shape), number))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, device, comfy.model_management.unet_offload_device())


def _weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    values = random(*shape, seed=seed)
    if name.endswith(".bias"):
        return 0.02 * values
    if len(shape) == 1:
        return 1 + 0.1 * values
    sharper = 2.0 if ".to_q." in name or ".to_k." in name else 1.0
    # Calm, as a trained model is: at full scale random layers make differences of each rounding.
    scale = RESIDUAL if name.removesuffix(".weight").endswith(ENDS_OF_RESIDUALS) else sharper
    return scale * values / math.sqrt(math.prod(shape[1:]))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def narrow_garment(images: int = 1, height: int = 12, width: int = 8, channels: int = CHANNELS) -> Any:
    """Return a GARMENT for the narrow U-Net, as if encoded from images of ``height`` × ``width`` of the latent."""
    garment = comfyui.pack("imagdressing_core.model.garment")
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS

    def image(number: int) -> Any:
        tokens = {layer.index: math.prod(layer.grid(height, width)) for layer in layers}
        kv = {
            index: [random(1, n, channels, seed=1000 * number + 2 * index + part) for part in range(2)]
            for index, n in tokens.items()
        }
        origin = garment.Origin("narrow", "0" * 64, "official", 8 * width, 8 * height)
        return garment.GarmentImage({index: garment.LayerKV(k, v) for index, (k, v) in kv.items()}, origin)

    return garment.Garment(tuple(image(number) for number in range(images)))


def prompt(seed: int = 11) -> list[Any]:
    """Return a conditioning of its own for each seed."""
    return [[random(1, 77, 768, seed=seed), {}]]


POSITIVE, NEGATIVE = 11, 12


def sample(model: Any, batch: int = 1, size: Sequence[int] = (12, 8), **inputs: Any) -> Tensor:
    """Return the latent after two steps of ComfyUI's KSampler."""
    torch.manual_seed(0)  # some nodes draw from the global generator
    inputs = {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"} | inputs
    inputs = {"positive": prompt(POSITIVE), "negative": prompt(NEGATIVE), "denoise": 1.0} | inputs
    latent = {"samples": torch.zeros(batch, 4, *size)}
    return comfyui.call("KSampler", model=model, latent_image=latent, **inputs)["samples"]


def apply_garment(model: Any, garment: Any = None, strength: float = 1.0, **inputs: Any) -> Any:
    """Return the MODEL behind Apply Garment (Advanced)."""
    defaults = {"start_percent": 0.0, "end_percent": 1.0}
    defaults |= {"layers": "all", "branches": "conditional", "batch": "broadcast"}
    garment = narrow_garment() if garment is None else garment
    return comfyui.call(
        "IMAGDressingApplyAdvanced", model=model, garment=garment, strength=strength, **(defaults | inputs)
    )
