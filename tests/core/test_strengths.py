"""How λ varies over layers and time."""

import pytest

from imagdressing_core.application.strengths import LAYER_PRESETS, SCHEDULES, factor_at, parse_layers, parse_schedule
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.model.layers import LAYERS


def acting(preset: str) -> set[int]:
    return {layer.channels for layer in LAYERS if parse_layers(preset)[layer.index]}


def test_every_preset_has_a_factor_for_every_layer():
    for weights in LAYER_PRESETS.values():
        assert weights.keys() == {layer.index for layer in LAYERS}


def test_texture_is_the_high_resolution_layers_and_shape_the_low_ones():
    assert acting("texture") == {320, 640}
    assert acting("shape") == {1280}
    assert all(
        a + b == 1 for a, b in zip(parse_layers("texture").values(), parse_layers("shape").values(), strict=True)
    )


@pytest.mark.parametrize("block", ["input", "middle", "output"])
def test_a_weak_preset_weakens_its_block_only(block: str):
    weights = parse_layers(f"weak {block}")
    assert {weights[layer.index] for layer in LAYERS if layer.block[0] == block} == {0.2}
    assert {weights[layer.index] for layer in LAYERS if layer.block[0] != block} == {1.0}


def test_easing_over_layers_follows_the_order_in_which_the_unet_runs_them():
    weights = parse_layers("Ease In ")
    down, middle, up = (
        [weights[layer.index] for layer in LAYERS if layer.block[0] == block] for block in ("input", "middle", "output")
    )
    assert [*down, *middle, *up] == sorted(weights.values())
    assert (down[0], up[-1]) == (0.0, 1.0)


def test_weights_by_number_name_layers_in_the_checkpoints_order_and_leave_out_the_others():
    weights = parse_layers("0:1.0, 5:0.5,15:-2")
    assert {index: factor for index, factor in weights.items() if factor} == {0: 1.0, 10: 0.5, 30: -2.0}


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "16:1", "-1:1", "0.5:1", "1:x", "1", "1:2:3", "1:nan", "nan:1", "1:inf", "1:1e9", "0:1,0:2"],
)
def test_layers_that_cannot_be_read_are_refused_with_what_can(text: str):
    with pytest.raises(IMAGDressingError, match=r"layers .*; give one of all, texture, .* such as 0:1\.0, 5:0\.5"):
        parse_layers(text)


def test_a_schedule_runs_straight_between_its_points_and_level_beyond_them():
    schedule = parse_schedule("0.75:0, 0.25:1")
    assert [factor_at(schedule, position) for position in (0, 0.25, 0.5, 0.75, 1)] == [1, 1, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("name", "factors"),
    [("constant", [1, 1, 1]), ("ease in", [0, 0.5, 1]), ("ease out", [1, 0.5, 0]), ("ease in-out", [0, 1, 0])],
)
def test_named_schedules(name: str, factors: list[float]):
    assert [factor_at(SCHEDULES[name], position) for position in (0, 0.5, 1)] == factors
    assert parse_schedule(name) is SCHEDULES[name]


@pytest.mark.parametrize("text", ["", "fast", "2:1", "-0.1:1", "0.5:nan", "0:1 0.5:1"])
def test_a_schedule_that_cannot_be_read_is_refused_with_what_can(text: str):
    with pytest.raises(IMAGDressingError, match=r"schedule .*; give one of constant, ease in"):
        parse_schedule(text)
