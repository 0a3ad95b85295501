"""What other nodes do to a MODEL or a prompt: ComfyUI's own by their ids, third-party packs by the patch they install.

Models that those nodes need are made here for the narrow U-Net, random but fixed.
"""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from support import comfyui_process as comfyui
from support.narrow_unet import CHANNELS, SD15
from support.sampling import random

comfyui.start()

import comfy.controlnet  # noqa: E402
import comfy.gligen  # noqa: E402
import comfy.hooks  # noqa: E402
import comfy.ldm.modules.attention  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.t2i_adapter.adapter  # noqa: E402

Patch = Callable[[Any], Any]
NOT_OF_CONTROLNETS = ("out_channels", "use_temporal_attention", "use_temporal_resblock")
BLOCKS = [("input", n) for n in (1, 2, 4, 5, 7, 8)] + [("middle", 0)] + [("output", n) for n in range(3, 12)]


def filled(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return weights for a module that ComfyUI builds without initialising."""
    weights = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    return {key: random(*shape, seed=i, scale=_scale(shape)) for i, (key, shape) in enumerate(weights.items())}


def _scale(shape: tuple[int, ...]) -> float:
    return math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.5


@cache
def lora_weights(attentions: tuple[str, ...] = ("attn1", "attn2")) -> dict[str, torch.Tensor]:
    """Rank 4 on q, k, v and out of both attentions of a few blocks, in the usual format."""
    weights: dict[str, torch.Tensor] = {}
    for block in ("down_blocks_0_attentions_0", "down_blocks_2_attentions_1", "up_blocks_2_attentions_0"):
        for attention in attentions:
            for part in ("to_q", "to_k", "to_v", "to_out_0"):
                context = 768 if attention == "attn2" and part in ("to_k", "to_v") else CHANNELS
                name = f"lora_unet_{block}_transformer_blocks_0_{attention}_{part}"
                weights[f"{name}.lora_down.weight"] = random(4, context, seed=len(weights), scale=context**-0.5)
                weights[f"{name}.lora_up.weight"] = random(CHANNELS, 4, seed=len(weights), scale=0.5)
    return weights


def lora(model: Any) -> Any:
    return comfy.sd.load_lora_for_models(model, None, lora_weights(), 1.0, 0.0)[0]


def ip_adapter(model: Any, tokens: int = 4) -> Any:
    """As ComfyUI_IPAdapter_plus: an attn2 replacement per block that adds attention to the picture's tokens."""
    patched = model.clone()
    for i, (name, number) in enumerate(BLOCKS):

        def replacement(
            q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra_options: dict[str, Any], seed: int = i
        ) -> torch.Tensor:
            attend = comfy.ldm.modules.attention.optimized_attention
            out = attend(q, k, v, extra_options["n_heads"])
            ip_k, ip_v = (random(1, tokens, q.shape[-1], seed=100 * seed + n).to(q) for n in (1, 2))
            rows = len(q) // len(extra_options["cond_or_uncond"])
            for prompt, which in enumerate(extra_options["cond_or_uncond"]):
                if which == 0:
                    part = slice(prompt * rows, (prompt + 1) * rows)
                    term = attend(
                        q[part], ip_k.expand(rows, -1, -1), ip_v.expand(rows, -1, -1), extra_options["n_heads"]
                    )
                    out[part] = out[part] + 0.5 * term
            return out

        patched.set_model_attn2_replace(replacement, name, number, 0)
    return patched


def ip_adapter_plus(model: Any) -> Any:
    return ip_adapter(model, tokens=16)


def ip_adapter_faceid(model: Any) -> Any:
    """The same with a LoRA on q, k, v and out of both attentions."""
    return ip_adapter(lora(model))


def hypernetwork(model: Any) -> Any:
    from comfy_extras.nodes_hypernetwork import load_hypernetwork_patch

    def layers(channels: int, seed: int) -> dict[str, torch.Tensor]:
        weight = random(channels, channels, seed=seed, scale=0.3 * channels**-0.5)
        return {"linear.weight": weight, "linear.bias": torch.zeros(channels)}

    with TemporaryDirectory() as folder:
        path = Path(folder) / "hypernetwork.pt"
        torch.save({channels: (layers(channels, 1), layers(channels, 2)) for channels in (CHANNELS, 768)}, path)
        hypernetwork = load_hypernetwork_patch(str(path), 1.0)
    patched = model.clone()
    patched.set_model_attn1_patch(hypernetwork)
    patched.set_model_attn2_patch(hypernetwork)
    return patched


def node(node_id: str, **inputs: Any) -> Patch:
    return lambda model: comfyui.call(node_id, model=model, **inputs)


def free_u(model: Any) -> Any:
    """FreeU tells its two levels by their widths, 4 and 2 times that of the model: here all levels are its first."""
    with patch.dict(model.model.model_config.unet_config, model_channels=CHANNELS // 4):
        return comfyui.call("FreeU_V2", model=model, b1=1.3, b2=1.4, s1=0.9, s2=0.2)


def attention_replacement(*place: Any) -> Patch:
    """Another pack's attn1 replacement, under a key of two parts (block) or three (block and transformer)."""

    def replaced(model: Any) -> Any:
        def replacement(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
            return 0.5 * comfy.ldm.modules.attention.optimized_attention(q, k, v, extra["n_heads"])

        patched = model.clone()
        patched.set_model_attn1_replace(replacement, *place)
        return patched

    return replaced


MODEL_PATCHES: dict[str, Patch] = {
    "LoRA": lora,
    "IP-Adapter": ip_adapter,
    "IP-Adapter Plus": ip_adapter_plus,
    "IP-Adapter FaceID": ip_adapter_faceid,
    "FreeU": free_u,
    "PAG": node("PerturbedAttentionGuidance", scale=3.0),
    "SAG": node("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
    "HyperTile": node("HyperTile", tile_size=32, swap_size=2, max_depth=1, scale_depth=False),
    "ToMe": node("TomePatchModel", ratio=0.5),
    "NAG": node("NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5),
    "hypernetwork": hypernetwork,
    "rescaled guidance": node("RescaleCFG", multiplier=0.7),
    "attn1 replacement of a block": attention_replacement("input", 4),
    "attn1 replacement of a transformer": attention_replacement("input", 4, 0),
}


@cache
def controlnet_model() -> Any:
    """Return a ControlNet for the narrow U-Net, in the names of the published file that lllyasviel's code writes."""
    import comfy.cldm.cldm
    import comfy.controlnet

    config = {key: value for key, value in SD15.items() if key not in NOT_OF_CONTROLNETS}
    with torch.device("meta"):
        network = comfy.cldm.cldm.ControlNet(**config, model_channels=CHANNELS, hint_channels=3)
    weights = {f"control_model.{key}": tensor for key, tensor in filled(network).items()}
    return comfy.controlnet.load_controlnet_state_dict(weights)


@cache
def t2i_adapter_model() -> Any:
    adapter = comfy.t2i_adapter.adapter.Adapter(
        cin=192, channels=[CHANNELS] * 4, nums_rb=2, ksize=1, sk=True, use_conv=False, xl=False
    )
    adapter.load_state_dict(filled(adapter))
    return comfy.controlnet.T2IAdapter(adapter, adapter.input_channels, 8, "nearest-exact")


@cache
def gligen_model() -> Any:
    """GLIGEN's text-box model in the names of its published file."""
    weights: dict[str, torch.Tensor] = {}
    for name, number in BLOCKS:
        path = "middle_block.1" if name == "middle" else f"{name}_blocks.{number}.1"
        fuser = comfy.gligen.GatedSelfAttentionDense(CHANNELS, 768, 8, CHANNELS // 8)
        weights |= {f"{path}.transformer_blocks.0.fuser.{key}": value for key, value in filled(fuser).items()}
    position = comfy.gligen.PositionNet(768, 768)
    weights |= {f"position_net.{key}": value for key, value in filled(position).items()}
    return comfy.model_patcher.CoreModelPatcher(
        comfy.gligen.load_gligen(weights), torch.device("cpu"), torch.device("cpu")
    )


def control(positive: Any, negative: Any, model: Any, strength: float = 0.8) -> tuple[Any, Any]:
    image = torch.rand((1, 80, 64, 3), generator=torch.Generator().manual_seed(9))
    return comfyui.call(
        "ControlNetApplyAdvanced",
        positive=positive,
        negative=negative,
        control_net=model,
        image=image,
        strength=strength,
        start_percent=0.0,
        end_percent=1.0,
    )


def gligen(positive: Any, negative: Any) -> tuple[Any, Any]:
    box = (random(1, 768, seed=8), 4, 4, 2, 2)  # a text's embedding; height, width, y, x in latent units
    return [[positive[0][0], positive[0][1] | {"gligen": ("position", gligen_model(), [box])}]], negative


def lora_hook(positive: Any, negative: Any) -> tuple[Any, Any]:
    hooks = comfy.hooks.create_hook_lora(lora_weights(), 1.0, 0.0)
    return comfy.hooks.set_hooks_for_conditioning(positive, hooks), negative


def second_prompt() -> torch.Tensor:
    return random(1, 77, 768, seed=21)


def area(positive: Any, negative: Any) -> tuple[Any, Any]:
    second = [[second_prompt(), {}]]
    second = comfyui.call("ConditioningSetArea", conditioning=second, width=32, height=48, x=16, y=32, strength=1.0)
    return positive + second, negative


def mask(positive: Any, negative: Any) -> tuple[Any, Any]:
    half = torch.zeros(1, 80, 64)
    half[:, :, :32] = 1
    second = comfyui.call(
        "ConditioningSetMask", conditioning=[[second_prompt(), {}]], mask=half, strength=0.9, set_cond_area="default"
    )
    return positive + second, negative


def timestep_ranges(positive: Any, negative: Any) -> tuple[Any, Any]:
    early = comfyui.call("ConditioningSetTimestepRange", conditioning=positive, start=0.0, end=0.5)
    late = comfyui.call("ConditioningSetTimestepRange", conditioning=[[second_prompt(), {}]], start=0.5, end=1.0)
    return early + late, negative


PROMPT_PATCHES: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "ControlNet": lambda positive, negative: control(positive, negative, controlnet_model()),
    "T2I-Adapter": lambda positive, negative: control(positive, negative, t2i_adapter_model()),
    "GLIGEN": gligen,
    "LoRA hook": lora_hook,
    "area": area,
    "mask": mask,
    "timestep ranges": timestep_ranges,
}
