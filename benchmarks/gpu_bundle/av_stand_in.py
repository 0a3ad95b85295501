"""Stands in for PyAV: ComfyUI imports it, and nothing that `make gpu` runs calls it."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from unittest.mock import MagicMock


class _StandIn(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)  # who asks whether it is installed looks here

    def __getattr__(self, name: str) -> MagicMock:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


PARTS = ("container", "subtitles", "subtitles.stream", "video", "video.reformatter", "codec")
for _name in ("av", *(f"av.{part}" for part in PARTS)):
    sys.modules[_name] = _StandIn(_name)
