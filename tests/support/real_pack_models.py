"""Models of other packs in the narrow U-Net's width, and what ComfyUI took away that these packs still call.

A pack that calls what is gone does not run by itself; users run patched copies of it. A function here does what such a
copy does: it gives back the one thing that is missing, in this process alone.
"""

import importlib
import math
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from support.narrow_unet import CHANNELS, random


def module_of(node_id: str, part: str = "") -> Any:
    """Return the module that a node is declared in, or one below the same package."""
    name = importlib.import_module("nodes").NODE_CLASS_MAPPINGS[node_id].__module__
    return sys.modules[name] if not part else sys.modules[f"{name.rpartition('.')[0]}.{part}"]


def randomized(module: nn.Module, seed: int = 900) -> nn.Module:
    """Give a module calm random weights, the same each time."""
    with torch.no_grad():
        for number, weight in enumerate(module.parameters(), seed):
            scale = 0.3 / math.sqrt(math.prod(weight.shape[1:])) if weight.dim() > 1 else 0.1
            weight.copy_(scale * random(*weight.shape, seed=number))
    return module.eval()


class RandomVAE:
    """Stands for a VAE where a node wants a latent of an image, or an image of a latent."""

    device = torch.device("cpu")

    def vae_encode_crop_pixels(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return random(len(image), 4, image.shape[1] // 8, image.shape[2] // 8, seed=5)


class EmptyPrompt:
    """Stands for a CLIP where a node wants the empty prompt alone."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens(self, _: str, return_pooled: bool = False) -> Any:
        empty = random(1, 77, 768, seed=13)
        return (empty, torch.zeros(1, 768)) if return_pooled else empty


def layer_diffuse(frames: int = 1) -> None:
    """Let LayerDiffuse's file have random weights, and its attention take ``transformer_options``."""
    from support.narrow_unet import narrow_model

    package = module_of("LayeredDiffusionApply")
    sharing = module_of("LayeredDiffusionApply", "lib_layerdiffusion.attention_sharing")
    unit = sharing.AttentionSharingUnit
    if not hasattr(unit, "own_forward"):
        unit.own_forward = unit.forward
        unit.forward = lambda self, h, context=None, value=None, **_: self.own_forward(h, context, value)
    weights = randomized(
        sharing.AttentionSharingPatcher(narrow_model().clone(), frames, use_control=False)
    ).state_dict()
    package.load_file_from_url = lambda **_: None
    package.load_layer_model_state_dict = lambda _: weights


@cache
def visual_style() -> None:
    """Let Visual Style Prompting's attention take ``transformer_options``."""
    processor = module_of("ApplyVisualStyle", "utils.attention_functions").VisualStyleProcessor
    own = processor.__call__
    processor.__call__ = lambda self, x, context=None, value=None, mask=None, **_: own(self, x, context, value, mask)


def fabric() -> None:
    """Give FABRIC ``comfy.samplers.wrap_model``."""
    samplers: Any = importlib.import_module("comfy.samplers")
    samplers.wrap_model = lambda model: SimpleNamespace(inner_model=model)


@cache
def brushnet() -> dict[str, Any]:
    """Return a narrow BRMODEL; let BrushNet know of no ``scaled_fp8`` and take ``latent_shapes``."""
    import comfy.ops
    import comfy.supported_models

    nodes, patch = module_of("BrushNet"), module_of("BrushNet", "model_patch")
    pick, outer_sample = comfy.ops.pick_operations, patch.brushNet_out_sample_wrapper
    comfy.ops.pick_operations = lambda *args, scaled_fp8=None, **kwargs: pick(*args, **kwargs)
    comfy.supported_models.SD15.scaled_fp8 = None  # pyright: ignore[reportAttributeAccessIssue]
    patch.brushNet_out_sample_wrapper = lambda executor, *args, latent_shapes=None, **kwargs: outer_sample(
        executor, *args, **kwargs
    )
    config = dict(nodes.BrushNetModel.load_config(nodes.brushnet_config_file))
    model = nodes.BrushNetModel.from_config(config | {"block_out_channels": [CHANNELS] * 4})
    return {"brushnet": randomized(model), "SDXL": False, "PP": False, "dtype": torch.float32}


@cache
def ic_light() -> Any:
    """Return what IC-Light reads of its MODEL: differences of the U-Net's weights, for four more channels of input."""
    from support.narrow_unet import narrow_model

    weights = narrow_model().model.diffusion_model.state_dict()
    shapes = {key: tuple(weight.shape) for key, weight in weights.items() if weight.dim() > 1}
    shapes["input_blocks.0.0.weight"] = CHANNELS, 8, 3, 3
    differences = {
        key: 0.05 * random(*shape, seed=number) / math.sqrt(math.prod(shape[1:]))
        for number, (key, shape) in enumerate(shapes.items(), 700)
    }
    unet = SimpleNamespace(state_dict=lambda: differences)
    return SimpleNamespace(model=SimpleNamespace(diffusion_model=unet))


@cache
def motion_module() -> Any:
    """Return AnimateDiff's second motion module."""
    motion = module_of("ADE_UseEvolvedSampling", "motion_module_ad")
    injection = module_of("ADE_UseEvolvedSampling", "model_injection")
    block = "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks"
    keys = {
        f"{place}.{block}.{n}.pos_encoder.pe" for place in ("down_blocks.3", "up_blocks.3", "mid_block") for n in (0, 1)
    }
    shapes = {key: torch.zeros(1, 32, CHANNELS) for key in keys}
    _, info = motion.normalize_ad_state_dict(dict(shapes), "narrow")
    own = motion.MotionModule
    motion.MotionModule = lambda _, **kwargs: own(CHANNELS, **kwargs)
    try:
        model = randomized(motion.AnimateDiffModel(mm_state_dict=shapes, mm_info=info))
    finally:
        motion.MotionModule = own
    cpu = torch.device("cpu")
    return injection.create_MotionModelPatcher(model=model, load_device=cpu, offload_device=cpu)
