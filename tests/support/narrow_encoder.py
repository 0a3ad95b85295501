"""The garment's side of the narrow U-Net: encoders whose garment U-Net and projections are as narrow.

The pack reads official files only, which are as wide as SD1.5; so these are put together from the pack's own classes.
"""

from functools import cache
from typing import Any

import torch

from support import comfyui_process as comfyui
from support import parity
from support.narrow_unet import CHANNELS, narrow_model
from support.synthetic_weights import synthetic_tensor

GARMENT_UNET_SEED = 10_000


@cache
def narrow_encoder(magic_clothing: bool = False) -> Any:
    """Return an IMAGDRESSING_MODEL; of MagicClothing's kind it has neither Q-Former nor projections."""
    import comfy.model_patcher
    import comfy.ops

    module = comfyui.pack("nodes.comfyui.garment_encoder")
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS
    projections = comfyui.pack("imagdressing_core.model.hybrid_attention").GarmentProjections
    adapter = module.Adapter(not magic_clothing, False, comfy.ops.manual_cast)
    if not magic_clothing:
        adapter.projections = projections(comfy.ops.manual_cast, {layer.index: CHANNELS for layer in layers})
    weights = {key: synthetic_tensor(key, tuple(tensor.shape)) for key, tensor in adapter.state_dict().items()}
    adapter.load_state_dict(weights)
    adapter.eval().requires_grad_(False)
    unet = narrow_model(seed=GARMENT_UNET_SEED)
    patcher = comfy.model_patcher.CoreModelPatcher(adapter, unet.load_device, unet.offload_device)
    return module.GarmentEncoder(unet, patcher, "narrow", "0" * 64)


def narrow_garment_of_vectors() -> Any:
    """Return the garment of 64 × 80 pixels whose latent and CLIP hidden states the reference vectors give."""
    vectors = parity.vectors()
    return _garment(narrow_encoder().encode(vectors["input.garment_latent"] / 0.18215, vectors["input.clip_hidden"]))


def narrow_garment_of(images: int, height: int, width: int) -> Any:
    """Return a garment of as many images, encoded at ``height`` × ``width`` of the latent."""
    generator = torch.Generator().manual_seed(7)
    latent = torch.randn((images, 4, height, width), generator=generator)
    clip_hidden = torch.randn((images, 257, 1280), generator=generator)
    return _garment(narrow_encoder().encode(latent, clip_hidden))


def _garment(images: Any) -> Any:
    return comfyui.pack("imagdressing_core.model.garment").Garment(images)
