"""Apply Garment (Advanced): which layers, which branches, how strongly over time."""

from typing import Any

import host_process as host
import parity
import pytest
import torch
from plain_reference import wearing
from sampling import predict, put_on, put_on_advanced, sample

LAYERS = host.pack("imagdressing_core.layers").LAYERS


@pytest.fixture
def noise() -> torch.Tensor:
    return parity.vectors()["input.noise"]


def test_its_defaults_are_apply_garment(model: Any, garment: Any, noise: torch.Tensor):
    assert torch.equal(predict(put_on_advanced(model, garment), noise), predict(put_on(model, garment), noise))


def test_layers_get_their_own_share_of_the_strength(model: Any, garment: Any, noise: torch.Tensor):
    weights = {0: 1.0, 4: 0.5, 15: 0.25}
    by_index = {LAYERS[number].index: weight for number, weight in weights.items()}
    picture = garment.pictures[0]
    weighted = {
        index: tensor * by_index.get(index, 0.0) for index, tensor in picture.values.items()
    }  # λ·Attn(Q, K', V') is linear in V'
    module = host.pack("imagdressing_core.garment")
    plain = module.GarmentPicture({"k": picture.keys, "v": weighted}, picture.origin)
    with wearing(model, module.Garment((plain,)), 0.8, [parity.vectors()["input.prompt"]]):
        reference = predict(model, noise)
    layers = ", ".join(f"{number}:{weight}" for number, weight in weights.items())
    ours = predict(put_on_advanced(model, garment, strength=0.8, layers=layers), noise)
    assert parity.relative_error(ours, reference) <= 1e-4


@pytest.mark.parametrize(
    "layers", ["texture", "shape", "weak input", "weak middle", "weak output", "ease in", "ease out"]
)
def test_every_preset_dresses_in_its_own_way(model: Any, garment: Any, noise: torch.Tensor, layers: str):
    ours = predict(put_on_advanced(model, garment, layers=layers), noise)
    assert parity.relative_error(ours, predict(put_on(model, garment), noise)) > 1e-3
    assert parity.relative_error(ours, predict(model, noise)) > 1e-3


def test_texture_and_shape_are_two_halves_of_all(model: Any, garment: Any, noise: torch.Tensor):
    halves = put_on_advanced(put_on_advanced(model, garment, layers="texture"), garment, layers="shape")
    assert parity.relative_error(predict(halves, noise), predict(put_on(model, garment), noise)) <= 1e-5


def test_in_both_branches_the_unconditional_one_wears_it_too(model: Any, garment: Any):
    texts = [parity.vectors()[f"input.{name}"] for name in ("prompt", "negative")]
    with wearing(model, garment, 1.0, texts):
        reference = sample(model)
    assert parity.relative_error(sample(put_on_advanced(model, garment, branches="both")), reference) <= 1e-4


@pytest.mark.parametrize("timestep", [999, 499, 0])
def test_a_schedule_changes_the_strength_over_time(model: Any, garment: Any, noise: torch.Tensor, timestep: int):
    scheduled = predict(put_on_advanced(model, garment, schedule="0:0, 1:1"), noise, timestep)
    constant = predict(put_on(model, garment, strength=1 - timestep / 999), noise, timestep)
    assert parity.relative_error(scheduled, constant) <= 1e-4


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"layers": "everything"}, "layers"),
        ({"layers": "16:1"}, "layers"),
        ({"layers": "0:nan"}, "layers"),
        ({"schedule": "0;1"}, "schedule"),
        ({"schedule": "2:1"}, "schedule"),
    ],
    ids=str,
)
def test_what_cannot_be_read_names_its_input(model: Any, garment: Any, inputs: dict[str, str], message: str):
    with pytest.raises(Exception, match=message) as refusal:
        put_on_advanced(model, garment, **inputs)
    assert type(refusal.value).__name__ == "IMAGDressingError"
