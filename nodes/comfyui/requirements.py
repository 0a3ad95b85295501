"""Which hosts and which of their models fit, said before anything is done with them."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import comfyui_version

from ...imagdressing_core import __version__
from ...imagdressing_core.errors import IMAGDressingError
from ...imagdressing_core.files.sd15_shapes import CONTEXT_CHANNELS, LEVEL_CHANNELS

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


def require_sd15(model: Any) -> None:
    """Raise IMAGDressingError unless ``model`` is an SD1.5 MODEL (a 9-channel inpainting one is)."""
    config = model.model.model_config
    if any(config.unet_config.get(key) != value for key, value in SD15_UNET.items()):
        raise IMAGDressingError(
            f"model is {type(config).__name__}; IMAGDressing-v1 dresses SD1.5 only (its weights exist for nothing "
            "else). Connect an SD1.5 checkpoint such as Realistic_Vision_V4.0.safetensors."
        )
