"""How often a step waits for the device on the pack's account: each wait lets a GPU's queue run dry."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from support import stand_ins
from support.comfyui_release import PACK_NAME
from support.narrow_unet import apply_garment, narrow_garment, narrow_model, sample
from torch import Tensor
from torch.overrides import TorchFunctionMode

TORCH = str(Path(torch.__file__).parent)
WAITING = (
    *(Tensor.cpu, Tensor.tolist, Tensor.numpy, Tensor.nonzero, torch.nonzero),
    *(Tensor.item, Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__),
)
ON_THE_CPU = ("noise_schedule.py", "mask.py")  # a copy of the model's schedule is kept there, and masks are


def _asking() -> str:
    """Return the file, function and line that called PyTorch."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith((TORCH, __file__)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" if frame else ""


class Waits(TorchFunctionMode):
    """Notes where the pack asks for numbers that a GPU would have to finish first."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING:
            place = _asking()
            if PACK_NAME in place and not any(name in place for name in ON_THE_CPU):
                self.places.append(place)
        return func(*args, **(kwargs or {}))


def waits_in_a_step(model: Any, **inputs: Any) -> int:
    """Return what one step more adds, so that nothing counts that a run does once."""
    two, three = Waits(), Waits()
    for steps, waits in ((2, two), (3, three)):
        with waits:
            sample(model, steps=steps, **inputs)
    return len(three.places) - len(two.places)


def left_half() -> Tensor:
    mask = torch.zeros(1, 96, 64)
    mask[:, :, :32] = 1
    return mask


ASKING: dict[str, Callable[[Tensor], Any]] = {
    "float": lambda x: float(x),
    "int": lambda x: int(x),
    "bool": lambda x: bool(x),
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "nonzero": lambda x: x.nonzero(),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_a_wait_is_noticed(ask: FunctionType):
    in_the_pack = FunctionType(ask.__code__.replace(co_filename=f"{PACK_NAME}/planted.py"), {})
    noticed = Waits()
    with noticed:
        in_the_pack(torch.ones(1))
    assert len(noticed.places) == 1


BY_DEFAULT: dict[str, dict[str, Any]] = {
    "plain": {},
    "mask": {"mask": left_half()},
    "both branches": {"branches": "both", "layers": "texture", "strength": 0.3},
    "one per image": {"garment": narrow_garment(2), "batch": "one per image"},
}


@pytest.mark.parametrize("inputs", BY_DEFAULT.values(), ids=BY_DEFAULT)
def test_no_step_waits_by_default(inputs: dict[str, Any]):
    assert waits_in_a_step(apply_garment(narrow_model(), **inputs), batch=2) == 0


TIMED = {"schedule": {"schedule": "ease out"}, "window": {"start_percent": 0.1, "end_percent": 0.9}}


@pytest.mark.parametrize("stand_in", ["nothing", "one tile in a call"])
@pytest.mark.parametrize("inputs", TIMED.values(), ids=TIMED)
def test_schedules_and_windows_of_all_garments_wait_once_in_a_step(inputs: dict[str, Any], stand_in: str):
    model = apply_garment(narrow_model(), strength=0.5, **inputs)
    model = apply_garment(model, narrow_garment(1, 8, 8), mask=left_half(), schedule="ease in")
    assert waits_in_a_step(stand_ins.STAND_INS[stand_in](model)) == 1


CALLS_WHOSE_ROWS_ARE_NOT_TOLD = {
    "one tile in a call": 0,  # each has the rows of the whole image
    "wrappers overwritten": 0,
    "attn1.forward replaced": 0,
    "replacement of a block": 0,
    "shrunken": 0,
    "four tiles in a call": 1,
    "three tiles, then one": 1,
    "prompts apart": 2,
}


@pytest.mark.parametrize(("name", "calls"), CALLS_WHOSE_ROWS_ARE_NOT_TOLD.items())
def test_beside_other_nodes_a_step_waits_for_the_texts_of_rows_that_nothing_else_tells(name: str, calls: int):
    assert waits_in_a_step(stand_ins.STAND_INS[name](apply_garment(narrow_model()))) == calls
