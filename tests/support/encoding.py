"""Encode Garment as a test calls it: small, with ComfyUI's VAE and a CLIP vision of ViT-H/14's width, loaded once."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from imagdressing_core.files import official_files
from support import comfyui_process as comfyui
from support.comfyui_release import comfyui_path
from support.synthetic_models import text_encoder
from support.synthetic_weights import synthetic_tensor


def encode(encoder: Any, image: Tensor | None = None, **inputs: Any) -> Any:
    """Return the garment of an image (a random one if none is given) at 64 × 80 pixels."""
    defaults = {"vae": vae(), "clip_vision": short_clip_vision(), "fit": "official", "width": 64, "height": 80}
    image = random_image() if image is None else image
    return comfyui.call("IMAGDressingEncodeGarment", imagdressing=encoder, image=image, **(defaults | inputs))


def random_image(*shape: int) -> Tensor:
    """Return an IMAGE, by default of 64 × 80 pixels; the same each time."""
    return torch.rand(shape or (1, 80, 64, 3), generator=torch.Generator().manual_seed(3))


@cache
def vae() -> Any:
    return comfyui.call("VAELoader", vae_name=official_files.VAE.name)


@cache
def clip() -> Any:
    import comfy.sd

    return comfy.sd.load_text_encoder_state_dicts([text_encoder()])


@cache
def short_clip_vision() -> Any:
    """Return a CLIP_VISION as wide as ViT-H/14, with 2 layers in place of 32."""
    return clip_vision("clip_vision_config_h.json")


def clip_vision(config: str) -> Any:
    """Return a CLIP_VISION in ComfyUI's own class by one of its configurations, of 2 random layers."""
    import comfy.clip_vision

    shortened = json.loads((comfyui_path() / "comfy" / config).read_text()) | {"num_hidden_layers": 2}
    with TemporaryDirectory() as folder:
        path = Path(folder) / config
        path.write_text(json.dumps(shortened))
        model = comfy.clip_vision.ClipVisionModel(str(path))
    shapes = {key: tuple(tensor.shape) for key, tensor in model.model.state_dict().items() if "position_ids" not in key}
    model.load_sd({key: synthetic_tensor(key, shape) for key, shape in shapes.items()})
    return model
