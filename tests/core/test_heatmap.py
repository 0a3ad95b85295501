"""Heat maps: a garment's share of the attention, averaged and laid over the image."""

import torch

from imagdressing_core.application.heatmap import HeatMap, garment_share, overlay


def test_the_share_is_the_terms_norm_beside_the_bases():
    base = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]])
    added = torch.tensor([[[0.0, 5.0], [1.0, 0.0], [0.0, 0.0]]])
    assert garment_share(base, added).tolist() == [[0.5, 1.0, 0.0]]


def test_nothing_on_nothing_has_no_share():
    assert garment_share(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)).tolist() == [[0.0]]


def test_the_mean_is_weighted_and_kept_by_image():
    heat = HeatMap(batch=2, height=2, width=2, weights={0: 1.0, 1: 3.0})
    heat.add(0, [0, 1], torch.tensor([[1.0] * 4, [0.0] * 4]), (2, 2))
    heat.add(1, [1], torch.tensor([[1.0] * 4]), (2, 2))
    heat.end_level()
    assert heat.mean[0].mean().item() == 0.25
    assert heat.mean[1].mean().item() == 0.75


def test_a_noise_level_at_which_nothing_acts_counts():
    heat = HeatMap(batch=1, height=2, width=2, weights={0: 1.0})
    heat.add(0, [0], torch.tensor([[1.0] * 4]), (2, 2))
    heat.end_level()
    heat.end_level()
    assert heat.mean.mean().item() == 0.5


def test_what_is_left_out_does_not_count():
    heat = HeatMap(batch=1, height=2, width=2, weights={0: 1.0, 1: 1.0, 2: 2.0})
    heat.add(0, [0], torch.tensor([[1.0] * 4]), (2, 2))
    heat.leave_out(2, [0])
    heat.end_level()
    assert heat.mean.mean().item() == 0.5


def test_an_image_that_is_seen_several_times_at_one_level_has_the_mean():
    heat = HeatMap(batch=2, height=2, width=2, weights={0: 1.0})
    heat.add(0, [0, 0], torch.tensor([[1.0] * 4, [0.0] * 4]), (2, 2))
    heat.add(0, [0, 1], torch.tensor([[1.0] * 4, [1.0] * 4]), (2, 2))
    heat.add(0, [0], torch.tensor([[1.0] * 4]), (2, 2))
    heat.leave_out(0, [0])
    heat.end_level()
    assert heat.mean.mean((1, 2)).tolist() == [0.75, 1.0]


def test_a_coarse_layer_keeps_its_place_in_the_image():
    heat = HeatMap(batch=1, height=4, width=4, weights={0: 1.0})
    heat.add(0, [0], torch.tensor([[1.0, 0.0, 0.0, 0.0]]), (2, 2))
    heat.end_level()
    assert heat.mean[0, 0, 0] == 1.0
    assert heat.mean[0, 3, 3] == 0.0


def test_an_image_nobody_looked_at_is_dark():
    assert not HeatMap(1, 2, 2, {0: 1.0}).mean.any()


def test_the_overlay_leaves_the_image_where_nothing_acts():
    image = torch.rand(1, 8, 8, 3)
    maps = torch.zeros(1, 4, 4)
    assert torch.equal(overlay(image, maps, 1.0), image)
    maps[0, :, 2:] = 1.0
    laid = overlay(image, maps, 1.0)
    assert torch.equal(laid[:, :, :2], image[:, :, :2])
    assert (laid[:, :, 6:] - image[:, :, 6:]).abs().mean() > 0.1
    assert 0 <= float(laid.min()) <= float(laid.max()) <= 1
