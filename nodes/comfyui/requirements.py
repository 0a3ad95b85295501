"""Checks that this ComfyUI and the user's MODEL fit the pack, before anything is done with them."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import comfyui_version

from ...imagdressing_core import __version__
from ...imagdressing_core.errors import IMAGDressingError
from ...imagdressing_core.files.sd15_shapes import CONTEXT_CHANNELS
from ...imagdressing_core.model.layers import LAYERS, LEVEL_CHANNELS
from .wires import GARMENT, MASK, MODEL, require_wires

# The depth of SD1.5's 6 down, 1 middle and 9 up transformers, as ComfyUI's model_detection writes them.
SD15_UNET = {
    "context_dim": CONTEXT_CHANNELS,
    "model_channels": LEVEL_CHANNELS[0],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}

OLDEST_COMFYUI = (0, 16, 3)  # also in pyproject.toml, requires-comfyui


def require_supported_comfyui() -> None:
    """Raise IMAGDressingError on a ComfyUI that is too old for this pack."""
    found = comfyui_version.__version__
    if _numbers(found) < OLDEST_COMFYUI:
        oldest = ".".join(map(str, OLDEST_COMFYUI))
        raise IMAGDressingError(
            f"ComfyUI-IMAGDressing needs ComfyUI {oldest} or newer; this is {found}. Update ComfyUI."
        )


def require_only_copy(node_id: str) -> None:
    """Raise IMAGDressingError if ComfyUI has ``node_id`` from another folder: two copies would serve a mix of both."""
    loaded = import_module("nodes").NODE_CLASS_MAPPINGS.get(node_id)  # ComfyUI's own module
    ours = Path(__file__).parents[2]
    if loaded is None or Path(inspect.getfile(loaded)).parents[1] == ours:
        return
    theirs = Path(inspect.getfile(loaded)).parents[1]
    version = import_module(f"{loaded.__module__.partition('.nodes.')[0]}.imagdressing_core").__version__
    spare = theirs if _numbers(version) < _numbers(__version__) else ours
    raise IMAGDressingError(
        f"ComfyUI-IMAGDressing is installed twice: {theirs} (version {version}), which is in use, and {ours} "
        f"(version {__version__}), which is not. Delete {spare} and restart ComfyUI."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def require_applicable(model: Any, garment: Any, mask: Any) -> None:
    """Raise IMAGDressingError unless these can go into Apply Garment; ``mask`` may be None."""
    require_sd15(model)
    require_wires(garment=(garment, GARMENT))
    if mask is not None:
        require_wires(mask=(mask, MASK))


def require_sd15(model: Any) -> None:
    """Raise IMAGDressingError unless ``model`` is an SD1.5 MODEL (a 9-channel inpainting one is) with a U-Net in it."""
    require_wires(model=(model, MODEL))
    config: Any = getattr(model.model, "model_config", None)
    found = getattr(config, "unet_config", {})
    if any(found.get(key) != value for key, value in SD15_UNET.items()):
        raise IMAGDressingError(
            f"model is {type(config or model.model).__name__}; IMAGDressing-v1 works with SD1.5 only (its weights "
            "exist for nothing else). Connect an SD1.5 checkpoint such as Realistic_Vision_V4.0.safetensors."
        )
    unet = model.get_model_object("diffusion_model")
    if not all(_has_module(unet, layer.ldm_name) for layer in LAYERS):
        raise IMAGDressingError(
            f"model holds a {type(unet).__name__} in place of SD1.5's U-Net, as compiled engines (TensorRT, OpenVINO "
            "and the like) do: its attention cannot be reached, and a garment would have no effect. Connect the model "
            "before it is compiled into an engine. Torch Compile Model works."
        )


def _has_module(unet: Any, name: str) -> bool:
    try:
        unet.get_submodule(name)
    except AttributeError:
        return False
    return True
