"""Putting garments on and sampling with ComfyUI's own nodes, a few steps at a tiny size."""

from typing import Any

import torch
from torch import Tensor

from support import comfyui_process as comfyui
from support import parity


def apply_garment(model: Any, garment: Any, **inputs: Any) -> Any:
    inputs = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | inputs
    return comfyui.call("IMAGDressingApply", model=model, garment=garment, **inputs)


def apply_garment_advanced(model: Any, garment: Any, **inputs: Any) -> Any:
    defaults = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    defaults |= {"layers": "all", "branches": "conditional", "batch": "broadcast"}
    return comfyui.call("IMAGDressingApplyAdvanced", model=model, garment=garment, **(defaults | inputs))


def prompt(name: str) -> list[Any]:
    return [[parity.vectors()[f"input.{name}"], {}]]


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sample(
    model: Any, positive: Any = None, negative: Any = None, latent: Tensor | None = None, **inputs: Any
) -> Tensor:
    """Return the latent after two steps of ComfyUI's KSampler."""
    torch.manual_seed(0)  # HyperTile and ToMe draw from the global generator
    inputs = {
        "seed": 1,
        "steps": 2,
        "cfg": 4.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    } | inputs
    return comfyui.call(
        "KSampler",
        model=model,
        positive=positive or prompt("prompt"),
        negative=negative or prompt("negative"),
        latent_image={"samples": torch.zeros(1, 4, 10, 8) if latent is None else latent},
        **inputs,
    )["samples"]


def predict(model: Any, x: Tensor, timestep: int = 501, cfg: float = 1.0) -> Tensor:
    """Return ε for a batch x_t, (batch, 4, h, w)."""
    import comfy.samplers

    sigma = model.get_model_object("model_sampling").sigmas[timestep]

    def once(denoise: Any, noise: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        sigma = sigmas[0]
        given = x.to(noise) * (sigma**2 + 1).sqrt()
        return (given - denoise(given, sigma.expand(len(given)), **extra_args)) / sigma

    latent = parity.sample(model, comfy.samplers.KSAMPLER(once), torch.stack([sigma, sigma * 0]), x, cfg)
    return model.model.process_latent_in(latent)


def traces(model: Any) -> dict[str, Any]:
    """Everything on a MODEL that a patch could leave behind."""
    return {
        name: repr(getattr(model, name))
        for name in ("model_options", "patches", "object_patches", "wrappers", "callbacks", "injections", "attachments")
    }
