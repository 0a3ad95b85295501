"""The pack's own socket types and what all its nodes share in the editor."""

from collections.abc import Callable, Iterable
from typing import Any

from comfy_api.latest import io

from ..imagdressing_core.errors import IMAGDressingError

IMAGDressingModel = io.Custom("IMAGDRESSING_MODEL")
IMAGDressingGarment = io.Custom("IMAGDRESSING_GARMENT")

CATEGORY = "IMAGDressing"
# Words with which users search for such a pack, in any language; none is so short that it matches other nodes. Only the
# two nodes to begin with have them, since the editor does not sort equal finds by importance.
SEARCH_ALIASES = [
    *("virtual try-on", "try on", "vton", "dress", "garment", "outfit", "clothes", "clothing", "shirt", "fashion"),
    *("imagdressing", "magic clothing"),
    *("换装", "虚拟试衣", "试穿", "服装", "衣服", "換裝", "虛擬試衣", "試穿", "服裝"),
    *("試着", "着せ替え", "バーチャル試着"),
    *("가상 피팅", "의상", "옷 입히기"),
    *("виртуальная примерка", "одежда"),
    *("essayage virtuel", "vêtement"),
    *("probador virtual", "prenda"),
    *("prova virtuale", "indumento", "provador virtual", "roupa", "sanal kabin", "giysi"),
    *("تجربة افتراضية", "ملابس", "پرو مجازی", "لباس", "מדידה וירטואלית", "בגד"),
]


def preset_input(name: str, presets: Iterable[str], default: str, tooltip: str, optional: bool = False) -> Any:
    """Return a text input whose presets the editor lists; ``web/presets.js`` lets the user type any other text."""
    listed = {"widgetType": "COMBO", "options": list(presets)}
    return io.String.Input(name, default=default, tooltip=tooltip, optional=optional, extra_dict=listed)


def check_texts(*texts: tuple[Callable[[str], Any], str | None]) -> bool | str:
    """Return True or the first error message, as ComfyUI expects of ``validate_inputs`` when Run is pressed.

    texts: pairs (parser, text); a text is None as long as a wire has not brought it.
    """
    try:
        for parse, text in texts:
            if text is not None:
                parse(text)
    except IMAGDressingError as error:
        return str(error)
    return True
