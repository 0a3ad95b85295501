"""Checks of the values that come over wires: ComfyUI compares the types of sockets, and passes on any value.

Muted groups, switches without a choice and nodes with optional outputs give None. Other nodes give lists, or objects of
another pack under the name of one of ComfyUI's types.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...imagdressing_core.errors import IMAGDressingError
from ...imagdressing_core.model.garment import Garment
from .garment_encoder import GarmentEncoder


@dataclass(frozen=True)
class Kind:
    """The kind of value that a socket takes.

    name: as the editor calls it; fits: whether a value is of this kind; source: nodes that give one.
    """

    name: str
    fits: Callable[[Any], bool]
    source: str


def _has(*names: str) -> Callable[[Any], bool]:
    """Return whether a value has these attributes: other packs' loaders give classes of their own."""
    return lambda value: all(hasattr(value, name) for name in names)


def _is_latent(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("samples"), Tensor)


def _is_box(value: Any) -> bool:
    sides = ("x", "y", "width", "height")
    return isinstance(value, Mapping) and all(isinstance(value.get(side), int) for side in sides)


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, list | tuple) and len(one) == 2 for one in value)


IMAGE = Kind("IMAGE", lambda value: isinstance(value, Tensor), "Load Image or VAE Decode")
MASK = Kind("MASK", lambda value: isinstance(value, Tensor), "Load Image (as Mask)")
BOX = Kind("BOUNDING_BOX", _is_box, "Crop to Mask")
LATENT = Kind("LATENT", _is_latent, "KSampler")
CONDITIONING = Kind("CONDITIONING", _is_conditioning, "CLIP Text Encode")
MODEL = Kind("MODEL", _has("model", "model_options", "clone", "get_model_object"), "Load Checkpoint")
VAE = Kind("VAE", _has("encode", "first_stage_model"), "Load VAE with vae-ft-mse-840000-ema-pruned.safetensors")
CLIP = Kind("CLIP", _has("tokenize", "encode_from_tokens"), "Load Checkpoint with your SD1.5 checkpoint")
CLIP_VISION = Kind("CLIP_VISION", _has("encode_image"), "Load CLIP Vision with CLIP ViT-H/14")
ENCODER = Kind("IMAGDRESSING_MODEL", lambda value: isinstance(value, GarmentEncoder), "Load IMAGDressing Model")
GARMENT = Kind(
    "IMAGDRESSING_GARMENT", lambda value: isinstance(value, Garment), "Encode Garment, Load Garment or Join Garments"
)


def require_wires(**sockets: tuple[Any, Kind]) -> None:
    """Raise IMAGDressingError unless each socket has a value of its kind. An optional one is left out while it is None.

    Args:
        sockets: (value, kind) by the socket's name.
    """
    for socket, (value, kind) in sockets.items():
        if value is None:
            raise IMAGDressingError(
                f"{socket} is empty: the node that it is wired to gave nothing. A muted or bypassed group, a switch "
                f"without a choice, and a loader whose file lacks that part do so. Connect {kind.source}."
            )
        if not kind.fits(value):
            found = f"a list of {len(value)}" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
            raise IMAGDressingError(
                f"{socket} takes {kind.name} and got {found}. Look at the node that it is wired to, and connect "
                f"{kind.source}."
            )


def require_option(socket: str, value: Any, options: Iterable[str]) -> None:
    """Raise IMAGDressingError unless ``value`` is one of ``options``: ComfyUI checks widgets, not values from wires."""
    options = list(options)
    if value not in options:
        choice = ", ".join(options)
        raise IMAGDressingError(
            f"{socket} is {value!r}, which is none of {choice}. Choose one, or look at the node wired to it."
        )


def require_text(socket: str, value: Any) -> None:
    """Raise IMAGDressingError unless a text widget's value, which may come from a wire, is text."""
    if not isinstance(value, str):
        raise IMAGDressingError(f"{socket} is {value!r}, which is no text. Look at the node wired to it.")
