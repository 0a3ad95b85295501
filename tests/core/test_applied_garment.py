"""Which image gets which garment, where and how strongly."""

from typing import Any

import pytest
import torch

from imagdressing_core.application.applied_garment import AppliedGarment, Strengths
from imagdressing_core.application.strengths import LAYER_PRESETS, parse_schedule
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin, images_of_batch, join_images
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.model.magic_clothing import LayerFeatures


def garment(images: int, tokens: int = 80) -> Garment:
    shapes = {layer.index: (images, max(1, tokens >> 2 * layer.level), layer.channels) for layer in LAYERS}
    layers = {index: LayerKV(torch.randn(shape), torch.randn(shape)) for index, shape in shapes.items()}
    return Garment(images_of_batch(layers, Origin("a.pt", "", "official", 64, 80)))


def numbers(applied: AppliedGarment, image_indices: list[int]) -> list[list[int]]:
    """Return which of the garment's images each of these images of the batch gets."""
    ids = [id(image) for image in applied.garment.images]
    return [[ids.index(id(image)) for image in applied.images_for(index)] for index in image_indices]


def test_broadcast_gives_every_image_all_views():
    assert numbers(AppliedGarment(garment(2)), [0, 1, 2]) == [[0, 1]] * 3


def test_one_per_image_counts_within_the_whole_batch_and_starts_over():
    assert numbers(AppliedGarment(garment(2), batch="one per image"), [0, 1, 2, 4]) == [[0], [1], [0], [0]]


@pytest.mark.parametrize(
    ("inputs", "differs"),
    [
        ({}, False),
        ({"batch": "one per image"}, True),
        ({"mask": torch.ones(1, 2, 2)}, False),
        ({"mask": torch.ones(2, 2, 2)}, True),
    ],
    ids=["broadcast", "one per image", "one mask", "a mask for each"],
)
def test_it_knows_whether_the_place_in_the_batch_matters(inputs: dict[str, Any], differs: bool):
    assert AppliedGarment(garment(2), **inputs).differs_by_image == differs


def test_masks_follow_the_images_of_the_batch():
    masks = AppliedGarment(garment(1), mask=torch.arange(2.0).view(2, 1, 1)).masks_for([1, 2, 3])
    assert masks is not None and masks.flatten().tolist() == [1.0, 0.0, 1.0]


def test_one_mask_serves_all():
    mask = torch.ones(1, 4, 4)
    assert AppliedGarment(garment(1), mask=mask).masks_for([3, 4]) is mask


@pytest.mark.parametrize("device", [None, torch.device("cpu")], ids=["as numbers", "as tensors, for a compiled graph"])
def test_strengths_are_read_where_they_are_used(device: torch.device | None):
    strengths = Strengths(AppliedGarment(garment(1), 0.5, layers={0: 1.0, 30: 0.5}), device)
    first, last = LAYERS[0], LAYERS[-1]
    assert [float(strengths[layer]) for layer in (first, LAYERS[1], last)] == [0.5, 0.0, 0.25]
    before = strengths[first]
    strengths.set_factor(0.5)
    assert [float(strengths[layer]) for layer in (first, LAYERS[1], last)] == [0.25, 0.0, 0.125]
    assert device is None or float(before) == 0.25  # the same memory


@pytest.mark.parametrize(
    "applied",
    [
        {"strength": 0.0},
        {"start_percent": 0.5, "end_percent": 0.5},
        {"layers": dict.fromkeys(LAYER_PRESETS["all"], 0.0)},
        {"schedule": parse_schedule("0:0, 1:0")},
    ],
    ids=["strength", "window", "layers", "schedule"],
)
def test_what_never_acts_says_so(applied: dict[str, Any]):
    assert not AppliedGarment(garment(1), **applied).ever_acts


def test_a_schedule_runs_along_the_garments_own_window():
    applied = AppliedGarment(garment(1), start_percent=0.2, end_percent=0.6, schedule=parse_schedule("0:0, 1:1"))
    assert [applied.factor_at(percent) for percent in (0.2, 0.4, 0.6)] == pytest.approx([0.0, 0.5, 1.0])


def test_views_are_joined_token_by_token():
    images = garment(2).images
    joined = join_images(images)
    for layer in LAYERS:
        one, other = (image.layers[layer.index].tensors["k"] for image in images)
        assert torch.equal(joined.layers[layer.index].tensors["k"], torch.cat((one, other), dim=1))


def test_tokens_of_the_background_can_be_left_out():
    (image,) = garment(1).images
    mask = torch.zeros(80, 64)
    mask[:40] = 1
    kept = image.without_background(mask)
    for layer in LAYERS:
        rows, columns = layer.grid(10, 8)
        ours, whole = (one.layers[layer.index].tensors["k"] for one in (kept, image))
        assert torch.equal(ours, whole[:, : -(-rows // 2) * columns])


def test_nan_is_found_at_encoding():
    zeros = {layer.index: torch.zeros(1, 4, layer.channels) for layer in LAYERS}
    layers = {index: LayerKV(zero, zero.clone()) for index, zero in zeros.items()}
    layers[30].v[0, 0, 0] = float("nan")
    with pytest.raises(
        IMAGDressingError, match=r"NaN, infinite values or larger ones than fp16 holds \(first in mid_block"
    ):
        images_of_batch(layers, Origin("a.pt", "", "official", 64, 80))


def test_garments_of_two_rules_are_not_joined():
    (hybrid,) = garment(1).images
    features = {index: LayerFeatures(layer.tensors["k"]) for index, layer in hybrid.layers.items()}
    joint = GarmentImage(features, hybrid.origin)
    with pytest.raises(IMAGDressingError, match="different rules"):
        Garment((hybrid, joint))
