"""Apply Garment (Advanced): which layers, which branches, how strongly over time."""

from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import parity
from support.plain_reference import garment_by_hooks
from support.sampling import apply_garment, apply_garment_advanced, predict, sample

LAYERS = comfyui.pack("imagdressing_core.model.layers").LAYERS


@pytest.fixture
def noise() -> torch.Tensor:
    return parity.vectors()["input.noise"]


def test_its_defaults_are_apply_garment(model: Any, garment: Any, noise: torch.Tensor):
    assert torch.equal(
        predict(apply_garment_advanced(model, garment), noise), predict(apply_garment(model, garment), noise)
    )


def test_layers_get_their_own_share_of_the_strength(model: Any, garment: Any, noise: torch.Tensor):
    weights = {0: 1.0, 4: 0.5, 15: 0.25}
    by_index = {LAYERS[number].index: weight for number, weight in weights.items()}
    image = garment.images[0]
    module = comfyui.pack("imagdressing_core.model.garment")
    weighted = {  # λ·Attn(Q, K', V') is linear in V'
        index: module.LayerKV(layer.k, layer.v * by_index.get(index, 0.0)) for index, layer in image.layers.items()
    }
    plain = module.GarmentImage(weighted, image.origin)
    with garment_by_hooks(model, module.Garment((plain,)), 0.8, [parity.vectors()["input.prompt"]]):
        reference = predict(model, noise)
    layers = ", ".join(f"{number}:{weight}" for number, weight in weights.items())
    ours = predict(apply_garment_advanced(model, garment, strength=0.8, layers=layers), noise)
    assert parity.relative_error(ours, reference) <= 1e-4


@pytest.mark.parametrize(
    "layers", ["texture", "shape", "weak input", "weak middle", "weak output", "ease in", "ease out"]
)
def test_every_preset_dresses_in_its_own_way(model: Any, garment: Any, noise: torch.Tensor, layers: str):
    ours = predict(apply_garment_advanced(model, garment, layers=layers), noise)
    assert parity.relative_error(ours, predict(apply_garment(model, garment), noise)) > 1e-3
    assert parity.relative_error(ours, predict(model, noise)) > 1e-3


def test_texture_and_shape_are_two_halves_of_all(model: Any, garment: Any, noise: torch.Tensor):
    halves = apply_garment_advanced(apply_garment_advanced(model, garment, layers="texture"), garment, layers="shape")
    assert parity.relative_error(predict(halves, noise), predict(apply_garment(model, garment), noise)) <= 1e-5


def test_in_both_branches_the_unconditional_one_gets_it_too(model: Any, garment: Any):
    texts = [parity.vectors()[f"input.{name}"] for name in ("prompt", "negative")]
    with garment_by_hooks(model, garment, 1.0, texts):
        reference = sample(model)
    assert parity.relative_error(sample(apply_garment_advanced(model, garment, branches="both")), reference) <= 1e-4


@pytest.mark.parametrize("timestep", [999, 499, 0])
def test_a_schedule_changes_the_strength_over_time(model: Any, garment: Any, noise: torch.Tensor, timestep: int):
    scheduled = predict(apply_garment_advanced(model, garment, schedule="0:0, 1:1"), noise, timestep)
    constant = predict(apply_garment(model, garment, strength=1 - timestep / 999), noise, timestep)
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
        apply_garment_advanced(model, garment, **inputs)
    assert type(refusal.value).__name__ == "IMAGDressingError"
