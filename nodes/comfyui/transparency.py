"""The transparency that ComfyUI's Load Image leaves out of its IMAGE, asked of the node that loaded it."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

LOADERS = ("LoadImage", "LoadImageOutput")  # both give (IMAGE, MASK) of their one input
IMAGE_OUTPUT = 0


def transparency_of(image: Tensor, prompt: Mapping[str, Any] | None, node: str | None, socket: str) -> Tensor | None:
    """Return the MASK, 1 = clear, of the Load Image node whose IMAGE is wired straight to a socket; None if none is.

    Args:
        image: What came over the wire.
        prompt: The running prompt, nodes by id, as ComfyUI gives it to nodes that ask for it.
        node: The id of the node that asks.
        socket: The name of its input.
    """
    wire = ((prompt or {}).get(node or "") or {}).get("inputs", {}).get(socket)
    if not isinstance(wire, list) or len(wire) != 2 or wire[1] != IMAGE_OUTPUT:
        return None
    loader = (prompt or {}).get(str(wire[0]), {})
    name = loader.get("inputs", {}).get("image")
    if loader.get("class_type") not in LOADERS or not isinstance(name, str):
        return None
    load_image = import_module("nodes").NODE_CLASS_MAPPINGS["LoadImage"]  # ComfyUI's own module
    _, mask = load_image().load_image(name)
    return mask if mask.shape == image.shape[:3] else None
