"""ComfyUI-IMAGDressing: a generated person wears the garment of a picture."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
