"""The pack's own socket types and what all its nodes share in the editor."""

from comfy_api.latest import io

IMAGDressingModel = io.Custom("IMAGDRESSING_MODEL")
IMAGDressingGarment = io.Custom("IMAGDRESSING_GARMENT")

CATEGORY = "IMAGDressing"
SEARCH_ALIASES = ["virtual try-on", "try on", "dress", "garment", "outfit", "clothes", "fashion", "换装", "試着"]
