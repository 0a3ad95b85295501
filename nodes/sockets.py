"""The pack's own socket types and what all its nodes share in the editor."""

from comfy_api.latest import io

IMAGDressingModel = io.Custom("IMAGDRESSING_MODEL")
IMAGDressingGarment = io.Custom("IMAGDRESSING_GARMENT")

CATEGORY = "IMAGDressing"
# What users type who look for a pack like this, whatever the editor's language; none so short that it matches others.
SEARCH_ALIASES = [
    *("virtual try-on", "try on", "dress", "garment", "outfit", "clothes", "clothing", "fashion"),
    *("换装", "虚拟试衣", "服装", "換裝", "虛擬試衣", "服裝"),
    *("試着", "着せ替え", "バーチャル試着"),
    *("가상 피팅", "의상", "옷 입히기"),
    *("виртуальная примерка", "одежда"),
    *("essayage virtuel", "vêtement"),
    *("probador virtual", "prenda"),
]
