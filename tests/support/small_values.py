"""Values of the nodes' sockets that weigh next to nothing, for what is decided before any weight is read."""

from typing import Any

import torch
from torch import nn

from support import comfyui_process

SD15: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "context_dim": 768,
    "num_heads": 8,
    "num_head_channels": -1,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "use_temporal_attention": False,
    "adm_in_channels": None,
    "legacy": False,
    "dtype": torch.float32,
}


def sd15() -> Any:
    """Return an SD1.5 MODEL without weights."""
    import comfy.model_patcher
    import comfy.supported_models

    with torch.device("meta"):
        unet = comfy.supported_models.SD15(dict(SD15)).get_model({}, device=torch.device("meta"))
    return comfy.model_patcher.ModelPatcher(unet, torch.device("cpu"), torch.device("cpu"))


def encoder() -> Any:
    """Return an IMAGDRESSING_MODEL that cannot encode."""
    import comfy.model_patcher

    adapter = nn.Module()
    adapter.qformer = nn.Identity()
    parts = (
        comfy.model_patcher.ModelPatcher(one, torch.device("cpu"), torch.device("cpu")) for one in (adapter, adapter)
    )
    return comfyui_process.pack("nodes.comfyui.garment_encoder").GarmentEncoder(*parts, "a.pt", "")


def garment(tokens: int = 6) -> Any:
    """Return a GARMENT of few tokens, 16 × 24 pixels."""
    of = comfyui_process.pack("imagdressing_core.model.garment")
    layers = comfyui_process.pack("imagdressing_core.model.layers").LAYERS
    kept = {one.index: of.LayerKV(*(torch.ones(1, tokens, one.channels) for _ in "kv")) for one in layers}
    return of.Garment((of.GarmentImage(kept, of.Origin("a.pt", "", "pad", 16, 24)),))
