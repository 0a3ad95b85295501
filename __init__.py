"""ComfyUI-IMAGDressing: a generated person wears the garment of an image."""

try:
    from .nodes import comfy_entrypoint
except ImportError as error:
    if not (error.name or "").startswith("comfy_api"):
        raise
    raise ImportError(
        "ComfyUI-IMAGDressing needs ComfyUI 0.16.3 or newer; this one is older. Update ComfyUI."
    ) from error

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
