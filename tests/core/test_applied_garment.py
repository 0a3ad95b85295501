"""Who wears which garment, where and how strongly."""

from typing import Any

import pytest
import torch

from imagdressing_core.application.applied_garment import AppliedGarment, same_garments, strength_by_layer
from imagdressing_core.application.strengths import LAYER_PRESETS, parse_schedule
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin, images_of_batch, join_images
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.model.magic_clothing import LayerFeatures


def garment(images: int, tokens: int = 80) -> Garment:
    shapes = {layer.index: (images, max(1, tokens >> 2 * layer.level), layer.channels) for layer in LAYERS}
    layers = {index: LayerKV(torch.randn(shape), torch.randn(shape)) for index, shape in shapes.items()}
    return Garment(images_of_batch(layers, Origin("a.pt", "", "official", 64, 80)))


def numbers(applied: AppliedGarment, image_indices: list[int]) -> list[tuple[int, int, list[int]]]:
    ids = [id(image) for image in applied.garment.images]
    return [
        (run.start, run.stop, [ids.index(id(p)) for p in shown]) for run, shown in applied.images_for(image_indices)
    ]


def test_broadcast_gives_every_image_all_views():
    assert numbers(AppliedGarment(garment(2)), [0, 1, 2]) == [(0, 3, [0, 1])]


@pytest.mark.parametrize(
    ("images", "runs"),
    [
        ([0, 1, 2], [(0, 1, [0]), (1, 2, [1]), (2, 3, [0])]),
        ([2, 3], [(0, 1, [0]), (1, 2, [1])]),
        ([0, 2, 4], [(0, 3, [0])]),
    ],
    ids=["starts over", "a window of a longer batch", "runs of the same"],
)
def test_one_per_image_counts_within_the_whole_batch(images: list[int], runs: list[Any]):
    assert numbers(AppliedGarment(garment(2), batch="one per image"), images) == runs


def test_masks_follow_the_images_of_the_batch():
    masks = torch.arange(2.0).view(2, 1, 1)
    region = AppliedGarment(garment(1), region=masks).masks_for([1, 2, 3])
    assert region is not None and region.flatten().tolist() == [1.0, 0.0, 1.0]


def test_one_mask_serves_all():
    region = torch.ones(1, 4, 4)
    assert AppliedGarment(garment(1), region=region).masks_for([3, 4]) is region


def test_the_same_garment_twice_folds_into_one_of_the_sum():
    one = garment(1)
    (same,) = same_garments([(AppliedGarment(one, 0.5), 1.0), (AppliedGarment(one, 0.6), 0.5)])
    assert strength_by_layer(same)[0] == pytest.approx(0.8)


def test_what_differs_in_anything_else_does_not_fold():
    one, mask = garment(1), torch.ones(1, 2, 2)
    acting = [
        (AppliedGarment(one), 1.0),
        (AppliedGarment(one, region=mask), 1.0),
        (AppliedGarment(one, branches="both"), 1.0),
        (AppliedGarment(one, batch="one per image"), 1.0),
        (AppliedGarment(garment(1)), 1.0),
    ]
    assert len(same_garments(acting)) == 5


@pytest.mark.parametrize(
    "worn",
    [
        {"strength": 0.0},
        {"start_percent": 0.5, "end_percent": 0.5},
        {"layers": dict.fromkeys(LAYER_PRESETS["all"], 0.0)},
        {"schedule": parse_schedule("0:0, 1:0")},
    ],
    ids=["strength", "window", "layers", "schedule"],
)
def test_what_never_acts_says_so(worn: dict[str, Any]):
    assert not AppliedGarment(garment(1), **worn).ever_acts


def test_a_schedule_runs_along_the_garments_own_window():
    worn = AppliedGarment(garment(1), start_percent=0.2, end_percent=0.6, schedule=parse_schedule("0:0, 1:1"))
    assert [worn.factor_at(percent) for percent in (0.2, 0.4, 0.6)] == pytest.approx([0.0, 0.5, 1.0])


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
