"""The real ComfyUI loaded into this process, with this pack taken from ``custom_nodes`` as ComfyUI does.

For tests, parity and benchmarks that look inside; what a user does goes over HTTP (``comfyui_server.py``). The
environment's ``COMFYUI_FLAGS`` are its command line: ``COMFYUI_FLAGS="--fp32-unet" pytest …``. A process has no dynamic
VRAM and PyTorch's own allocator; over HTTP an NVIDIA GPU has ComfyUI's.
"""

import asyncio
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from support.comfyui_release import PACK_NAME, REPOSITORY, make_importable, prepare_base
from support.synthetic_models import make_models


@cache
def start() -> None:
    """Import ComfyUI and load its own nodes and this pack, once per process; its models are synthetic."""
    base = prepare_base()
    make_importable()
    make_models(base / "models")
    nodes = importlib.import_module("nodes")  # ComfyUI's, not this repository's folder
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    # As ComfyUI loads every folder of custom_nodes.
    if not asyncio.run(nodes.load_custom_node(str(_pack_folder()))):
        sys.exit("ComfyUI could not load the pack; the reason is in its log above.")


def pack(module: str) -> ModuleType:
    """Return a module of the pack as ComfyUI has it, for instance ``nodes.comfyui.wrappers``."""
    start()
    return importlib.import_module(f"{str(_pack_folder()).replace('.', '_x_')}.{module}")


def call(node_id: str, /, **inputs: Any) -> Any:
    """Execute a node of ComfyUI or the pack; return its only output, or a tuple of them."""
    outputs = node_function(node_id)(**inputs)
    outputs = outputs["result"] if isinstance(outputs, dict) else getattr(outputs, "result", outputs)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def node_function(node_id: str) -> Callable[..., Any]:
    start()
    node = importlib.import_module("nodes").NODE_CLASS_MAPPINGS[node_id]
    return node.execute if hasattr(node, "define_schema") else getattr(node(), node.FUNCTION)


def tells_callbacks_its_options() -> bool:
    """Return whether this release tells callbacks the options it samples with; 0.16.3 does not, 0.24.1 does."""
    start()
    prepare_state = importlib.import_module("comfy.model_patcher").ModelPatcher.prepare_state
    return "model_options" in inspect.signature(prepare_state).parameters


def in_a_process_of_its_own(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that may import what a test may: this package, and the modules of the commands."""
    path = os.pathsep.join(str(REPOSITORY / folder) for folder in ("tests", "scripts"))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def _pack_folder() -> Path:
    return prepare_base() / "custom_nodes" / PACK_NAME
