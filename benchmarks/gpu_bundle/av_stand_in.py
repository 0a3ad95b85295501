"""Stands in for PyAV: ComfyUI imports it, and nothing that runs here calls it."""

import sys
from typing import ClassVar
from unittest.mock import MagicMock


class _Module(type(sys)):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


for _name in (
    "av",
    "av.container",
    "av.subtitles",
    "av.subtitles.stream",
    "av.video",
    "av.video.reformatter",
    "av.codec",
):
    sys.modules[_name] = _Module(_name)
