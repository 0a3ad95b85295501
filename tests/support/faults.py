"""Fails at a chosen allocation: any operator that makes new memory, by the line of the pack or ComfyUI that asks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from support.comfyui_release import REPOSITORY, comfyui_path

Site = tuple[str, str]
"""(innermost line of the pack, innermost line of ComfyUI below it), each as ``file:number``."""


class Allocations(TorchDispatchMode):
    """Counts the operators that make new memory, and raises ``error`` at the chosen one, in its place.

    first: the number of the first such operator by site.
    """

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None) -> None:
        super().__init__()
        self.first: dict[Site, int] = {}
        self._count = 0
        self._fail_at, self._error = fail_at, error

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and not func._schema.is_mutable:  # what works in place takes nothing
            if self._count == self._fail_at and self._error is not None:
                raise self._error
            if self._error is None:
                self.first.setdefault(_site(), self._count)
            self._count += 1
        return func(*args, **(kwargs or {}))


def allocation_sites(action: Callable[[], object]) -> dict[Site, int]:
    """Run ``action`` once; return the first allocation of each site."""
    with Allocations() as seen:
        action()
    return seen.first


def fails_at(action: Callable[[], object], allocation: int, error: BaseException) -> bool:
    """Run ``action`` with that allocation failing; return whether it ended by it, rather than do without."""
    try:
        with Allocations(allocation, error):
            action()
    except type(error):
        return True
    return False


def out_of_memory() -> BaseException:
    return torch.OutOfMemoryError("the test lets this allocation fail")


def interrupt() -> BaseException:
    import comfy.model_management

    return comfy.model_management.InterruptProcessingException()


def _site() -> Site:
    pack = comfyui = ""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and not pack:
        file = Path(frame.f_code.co_filename).resolve()
        where = f"{file.name}:{frame.f_lineno}"
        if file.is_relative_to(REPOSITORY / "imagdressing_core") or file.is_relative_to(REPOSITORY / "nodes"):
            pack = where
        elif not comfyui and file.is_relative_to(comfyui_path()):
            comfyui = where
        frame = frame.f_back
    return pack, comfyui
