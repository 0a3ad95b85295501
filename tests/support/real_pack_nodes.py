"""The nodes of real packs as the table of ``real_pack_cases.py`` calls them, and the inputs that they ask for."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from support import comfyui_process as comfyui
from support import real_pack_models as models
from support.narrow_unet import CHANNELS, NEGATIVE, POSITIVE, prompt, random

SIZE = (16, 16)
PIXELS = 8 * SIZE[0], 8 * SIZE[1]
Patch = Callable[[Any], Any]


def call(node_id: str, **inputs: Any) -> Any:
    """Execute a node; inputs that are not given have the defaults that the node declares."""
    types = importlib.import_module("nodes").NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()["required"]
    return comfyui.call(node_id, **{name: _default(declared) for name, declared in types.items()} | inputs)


def _default(declared: Any) -> Any:
    kind, options = declared[0], declared[1] if len(declared) > 1 else {}
    choices = kind if isinstance(kind, (list, tuple)) else options.get("options", [None])
    return options.get("default", choices[0])


def node(node_id: str, **inputs: Any) -> Patch:
    def patch(model: Any) -> Any:
        patched = call(node_id, model=model, **inputs)
        return patched[0] if isinstance(patched, tuple) else patched

    return patch


def left_half() -> Tensor:
    mask = torch.zeros(1, *PIXELS)
    mask[..., : PIXELS[1] // 2] = 1
    return mask


def latents(images: int = 1) -> dict[str, Tensor]:
    return {"samples": random(images, 4, *SIZE, seed=70)}


def reference_control(**inputs: Any) -> dict[str, Any]:
    """Return the prompts under Advanced-ControlNet's Reference."""
    image = call(
        "ACN_ReferencePreprocessor", image=torch.rand(1, *PIXELS, 3), vae=models.RandomVAE(), latent_size=latents()
    )
    positive, negative, *_ = call(
        "ACN_AdvancedControlNetApply_v2",
        positive=prompt(POSITIVE),
        negative=prompt(NEGATIVE),
        control_net=call("ACN_ReferenceControlNet", **inputs),
        image=image,
    )
    return {"positive": positive, "negative": negative}


def ip_adapter(model: Any) -> Any:
    """IP-Adapter's base form."""
    attention = {
        f"{2 * layer + 1}.to_{part}_ip.weight": random(CHANNELS, 768, seed=2 * layer + n) / math.sqrt(768)
        for layer in range(16)
        for n, part in enumerate("kv")
    }
    projection = {
        "proj.weight": random(4 * 768, 1024, seed=50) / 32,
        "proj.bias": torch.zeros(4 * 768),
        "norm.weight": torch.ones(768),
        "norm.bias": torch.zeros(768),
    }
    adapter = {"image_proj": projection, "ip_adapter": attention}
    embeds = {"pos_embed": random(1, 1, 1024, seed=51), "neg_embed": torch.zeros(1, 1, 1024)}
    patched, *_ = call("IPAdapterEmbeds", model=model, ipadapter=adapter, **embeds)
    return patched


def dense_diffusion(model: Any) -> Any:
    for conditioning, mask in zip(two_prompts(), (left_half(), None), strict=True):
        inputs = {"conditioning": [conditioning], "strength": 1.0, "mask": mask}
        model = call("DenseDiffusionAddCondNode", model=model, **inputs)
    return call("DenseDiffusionApplyNode", model=model)[0]


def two_prompts() -> list[Any]:
    return [[prompt(seed)[0][0], {"pooled_output": torch.zeros(1, 768)}] for seed in (POSITIVE, 21)]


def both_prompts() -> Tensor:
    """Return the text as Dense Diffusion has it: its regions' prompts one after the other."""
    return torch.cat([text for text, _ in two_prompts()], dim=1)


def layer_diffuse(model: Any) -> Any:
    models.layer_diffuse()
    return call("LayeredDiffusionApply", model=model, config="SD15, Attention Injection, attn_sharing")


def visual_style(model: Any) -> Any:
    """Visual Style Prompting, which sets ``forward`` on the shared modules for good."""
    models.visual_style()
    prompts = {"reference_cond": prompt(21), "positive": prompt(POSITIVE), "negative": prompt(NEGATIVE)}
    inputs = {"reference_latent": latents(), "clip": models.EmptyPrompt(), "skip_output_layers": 0}
    return call("ApplyVisualStyle", model=model, **prompts, **inputs)[0].clone()


def with_style() -> dict[str, Any]:
    """Return the prompts as Visual Style Prompting makes them: the first image of a batch is the style's."""
    pairs = {"positive": (21, POSITIVE), "negative": (NEGATIVE, NEGATIVE)}
    return {role: [[torch.cat([prompt(seed)[0][0] for seed in seeds]), {}]] for role, seeds in pairs.items()}


def fabric(liked: int, disliked: int) -> Patch:
    def patch(model: Any) -> Any:
        models.fabric()
        images = {"pos_latents": latents(liked), "neg_latents": latents(disliked) if disliked else None}
        nulls = {"null_pos": prompt(NEGATIVE), "null_neg": prompt(NEGATIVE)}
        return call("FABRICPatchModelAdv", model=model, **nulls, **images)

    return patch


def brushnet(model: Any) -> Any:
    image, mask = torch.rand(1, *PIXELS, 3, generator=torch.Generator().manual_seed(3)), left_half()
    prompts = {"positive": prompt(POSITIVE), "negative": prompt(NEGATIVE)}
    inputs = {"vae": models.RandomVAE(), "image": image, "mask": mask, "brushnet": models.brushnet(), **prompts}
    return call("BrushNet", model=model, **inputs)[0]


def animate_diff(**context: Any) -> Patch:
    def patch(model: Any) -> Any:
        motion = call("ADE_ApplyAnimateDiffModelSimple", motion_model=models.motion_module())
        windows = call("ADE_AnimateDiffUniformContextOptions", **context) if context else None
        inputs = {"m_models": motion, "context_options": windows, "beta_schedule": "use existing"}
        return call("ADE_UseEvolvedSampling", model=model, **inputs)

    return patch


def ic_light(model: Any) -> Any:
    return call("ICLightAppply", model=model, ic_model=models.ic_light(), c_concat=latents())


def custom_sampled(sampler: Callable[[], Any]) -> Callable[..., Tensor]:
    def sampled(model: Any, batch: int, **inputs: Any) -> Tensor:
        prompts = {"positive": prompt(POSITIVE), "negative": prompt(NEGATIVE)} | inputs
        sigmas = call("BasicScheduler", model=model, scheduler="normal", steps=2, denoise=1.0)
        latent = {"samples": torch.zeros(batch, 4, *SIZE)}
        inputs = {"noise_seed": 1, "cfg": 4.0, "sampler": sampler(), "sigmas": sigmas, "latent_image": latent}
        return comfyui.call("SamplerCustom", model=model, add_noise=True, **prompts, **inputs)[0]["samples"]

    return sampled


def sampled_by(node_id: str, output: int = 0, side: int = SIZE[0], **options: Any) -> Callable[..., Tensor]:
    """Return how a KSampler of another pack samples. output: the place of its LATENT. side: of the latent."""

    def sampled(model: Any, batch: int, **inputs: Any) -> Tensor:
        torch.manual_seed(0)
        prompts = {"positive": prompt(POSITIVE), "negative": prompt(NEGATIVE)} | inputs
        settings = {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"} | options
        latent = {"samples": torch.zeros(batch, 4, side, side)}
        outputs = call(node_id, model=model, latent_image=latent, **prompts, **settings)
        return (outputs[output] if isinstance(outputs, tuple) else outputs)["samples"]

    return sampled


def detail_daemon() -> Any:
    return call(
        "DetailDaemonSamplerNode",
        sampler=call("KSamplerSelect", sampler_name="euler"),
        detail_amount=0.5,
        start=0.0,
        end=1.0,
    )
