"""The garment beside everything that another pack does to a MODEL, in either order, against plain hooks.

``support/stand_ins.py`` has one stand-in for each kind; all of them go through all of these tests.
"""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support.narrow_unet import POSITIVE, apply_garment, narrow_garment, narrow_model, prompt, sample
from support.parity import relative_error
from support.plain_reference import garment_by_hooks
from support.stand_ins import STAND_INS, UNKNOWN_ROWS
from torch import Tensor

LIMIT = 1e-4  # what processors round differently grows along the steps; a garment missed is 0.01 or more
ORDERS = ("before", "after")
every_stand_in = pytest.mark.parametrize("name", STAND_INS)


def orders_of(name: str) -> tuple[str, ...]:
    """Return the orders in which the garment can act at all; that the other one is said, ``test_said.py`` has."""
    never = name == "options copied" and not comfyui.tells_callbacks_its_options()
    return ("after",) if never else ORDERS


every_order = pytest.mark.parametrize(
    ("name", "order"), [(name, order) for name in STAND_INS for order in orders_of(name)]
)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the pack says; filled when it is read."""
    caplog.set_level(logging.WARNING)

    class Said(list[str]):
        def __iter__(self) -> Iterator[str]:
            return (record.getMessage() for record in caplog.records if "IMAGDressing" in record.getMessage())

    yield Said()


def both(name: str, order: str, **inputs: Any) -> Any:
    patch, model = STAND_INS[name], narrow_model()
    return apply_garment(patch(model), **inputs) if order == "before" else patch(apply_garment(model, **inputs))


def by_hooks(name: str, strength: float = 1.0, batch: int = 1) -> Tensor:
    model = narrow_model()
    with garment_by_hooks(model, narrow_garment(), strength, [prompt(POSITIVE)[0][0]]):
        return sample(STAND_INS[name](model), batch)


@pytest.mark.parametrize("batch", [1, 2])
@every_stand_in
def test_it_is_hybrid_attention_in_either_order(name: str, batch: int, warnings: list[str]):
    without = sample(STAND_INS[name](narrow_model()), batch)
    reference = by_hooks(name, batch=batch)
    assert relative_error(reference, without) > 0.01
    for order in orders_of(name):
        assert relative_error(sample(both(name, order), batch), reference) <= LIMIT, order
    assert all("Some rows" in text for text in warnings) if name == UNKNOWN_ROWS else not list(warnings)


@every_order
def test_a_weak_garment_tends_to_the_other_nodes_own_image(name: str, order: str):
    without = sample(STAND_INS[name](narrow_model()))
    effects = [relative_error(sample(both(name, order, strength=strength)), without) for strength in (0.01, 0.001)]
    assert 0 < effects[1] <= 0.01
    assert 5 <= effects[0] / effects[1] <= 20


def left_half() -> Tensor:
    mask = torch.zeros(1, 96, 64)
    mask[:, :, :32] = 1
    return mask


@every_stand_in
def test_two_halves_are_the_whole(name: str, warnings: list[str]):
    """A weak garment's effects add up; where a mask cannot be followed it is said, and the garment acts everywhere."""
    without = sample(STAND_INS[name](narrow_model())).double()
    masks = (None, left_half(), 1 - left_half())
    whole, left, right = (sample(both(name, "after", strength=0.002, mask=mask)).double() - without for mask in masks)
    if name != UNKNOWN_ROWS and list(warnings):
        assert "tiles" in name or "tile" in name
        assert relative_error(left, whole) <= 1e-6
    else:
        assert relative_error(left + right, whole) <= 0.05
        assert relative_error(left, whole) > 0.1


@every_order
def test_a_second_run_is_the_same_and_nothing_is_left_behind(name: str, order: str):
    plain, garment = sample(narrow_model()), copy.deepcopy(narrow_garment())
    patched = both(name, order)
    first = sample(patched)
    assert torch.equal(sample(patched), first)
    assert torch.equal(sample(narrow_model()), plain)
    for index, layer in narrow_garment().images[0].layers.items():
        assert torch.equal(layer.k, garment.images[0].layers[index].k)
        assert torch.equal(layer.v, garment.images[0].layers[index].v)


@pytest.mark.parametrize("name", ["four tiles in a call", "four tiles, prompt by prompt", "prompts apart"])
def test_one_garment_for_each_image_follows_the_image_and_not_the_row(name: str):
    inputs = {"garment": narrow_garment(2), "batch": "one per image"}
    together = sample(both(name, "after", **inputs), batch=2)
    reference = sample(both("one tile in a call" if "tile" in name else "nothing", "after", **inputs), batch=2)
    assert relative_error(together, reference) <= LIMIT
