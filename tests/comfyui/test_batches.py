"""Batches: several images at once, several images of a garment, windows of an animation."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import parity
from support.narrow_unet import CHANNELS
from support.sampling import apply_garment, apply_garment_advanced, predict, random, sample
from torch import Tensor


@pytest.fixture
def noise() -> Tensor:
    """Three images."""
    return torch.cat((parity.vectors()["input.noise"], random(2, 4, 10, 8, seed=3)))


@pytest.fixture
def model_in_float64(model: Any) -> Iterator[Any]:
    unet = model.model.diffusion_model
    unet.double().dtype = torch.float64
    yield model
    unet.float().dtype = torch.float32


def one(garment: Any, number: int) -> Any:
    return comfyui.pack("imagdressing_core.model.garment").Garment(garment.images[number : number + 1])


def test_a_batch_of_two_is_two_batches_of_one(model_in_float64: Any, garment: Any, noise: Tensor):
    # float64, since in float32 these random weights make 4e-5 of plain SD1.5's rounding between the two.
    with_garment = apply_garment(model_in_float64, garment)
    both = predict(with_garment, noise[:2], cfg=4.0)
    each = torch.cat([predict(with_garment, x, cfg=4.0) for x in noise[:2].split(1)])
    assert parity.relative_error(both, each) <= 1e-6


def test_in_float32_every_layer_gives_a_batch_of_two_what_it_gives_two_of_one(model: Any, garment: Any):
    module, batch = comfyui.pack("nodes.comfyui.attention_patches"), comfyui.pack("nodes.comfyui.batch")
    applied = comfyui.pack("imagdressing_core.application.applied_garment").AppliedGarment(garment)

    def patches(images: tuple[int, ...]) -> Any:
        rows = tuple(batch.Row(True, image) for image in images)
        call = batch.ModelCall(rows, 10, 8, torch.device("cpu"), torch.float32)
        run = module.AttentionPatches([applied])
        return run.for_call({id(applied): (applied, 1.0)}, call, {}, dict).replacements

    for layer in comfyui.pack("imagdressing_core.model.layers").LAYERS:
        rows, columns = layer.grid(10, 8)
        q, k, v = (random(2, rows * columns, CHANNELS, seed=seed) for seed in range(3))
        extra = {"n_heads": 8, "attn_precision": None}
        block = (*layer.block, 0)
        both = patches((0, 1))[block](q, k, v, extra)
        each = [patches((i,))[block](q[i : i + 1], k[i : i + 1], v[i : i + 1], extra) for i in range(2)]
        assert parity.relative_error(both, torch.cat(each)) <= 1e-5


def test_in_float32_a_garment_adds_no_difference_to_that_of_the_plain_model(model: Any, garment: Any, noise: Tensor):
    def difference(model: Any) -> float:
        each = torch.cat([predict(model, x) for x in noise[:2].split(1)])
        return parity.relative_error(predict(model, noise[:2]), each)

    assert difference(apply_garment(model, garment)) <= 2 * difference(model)


def test_one_per_image_gives_each_its_own_and_starts_over(model: Any, garment_of_two: Any, noise: Tensor):
    ours = predict(apply_garment_advanced(model, garment_of_two, batch="one per image"), noise)
    for i, x in enumerate(noise.split(1)):
        alone = predict(apply_garment(model, one(garment_of_two, i % 2)), x)
        assert parity.relative_error(ours[i : i + 1], alone) <= 2e-4


def test_garments_of_different_sizes_in_one_batch(model: Any, garment: Any, other_garment: Any, noise: Tensor):
    both = comfyui.call("IMAGDressingJoinGarments", garment_1=garment, garment_2=other_garment)
    ours = predict(apply_garment_advanced(model, both, batch="one per image"), noise[:2])
    for i, alone in enumerate((garment, other_garment)):
        assert parity.relative_error(ours[i : i + 1], predict(apply_garment(model, alone), noise[i : i + 1])) <= 2e-4


def test_broadcast_gives_all_views_to_every_image(model: Any, garment_of_two: Any, noise: Tensor):
    with_garment = apply_garment(model, garment_of_two)
    ours = predict(with_garment, noise[:2])
    for i in range(2):
        assert parity.relative_error(ours[i : i + 1], predict(with_garment, noise[i : i + 1])) <= 2e-4
    assert parity.relative_error(ours, predict(apply_garment(model, one(garment_of_two, 0)), noise[:2])) > 0.01


def test_the_same_view_twice_is_one_view(model: Any, garment: Any, noise: Tensor):
    twice = comfyui.call("IMAGDressingJoinGarments", garment_1=garment, garment_2=garment)
    ours, theirs = (predict(apply_garment(model, g), noise[:1]) for g in (twice, garment))
    assert parity.relative_error(ours, theirs) <= 1e-4


def test_each_image_of_a_batch_has_its_own_mask(model: Any, garment: Any, noise: Tensor):
    masks = torch.zeros(2, 80, 64)
    masks[0, :40], masks[1, 40:] = 1, 1
    ours = predict(apply_garment(model, garment, mask=masks), noise)
    for i, x in enumerate(noise.split(1)):
        alone = predict(apply_garment(model, garment, mask=masks[i % 2 : i % 2 + 1]), x)
        assert parity.relative_error(ours[i : i + 1], alone) <= 2e-4


def in_windows(model: Any, windows: list[list[int]]) -> Any:
    """Compute a batch window by window, as AnimateDiff packs do: they name the images in ``sub_idxs``."""

    def wrapper(apply_model: Any, inputs: Any) -> Tensor:
        prompts, out = len(inputs["cond_or_uncond"]), torch.zeros_like(inputs["input"])
        images = len(out) // prompts
        for window in windows:
            rows = [prompt * images + i for prompt in range(prompts) for i in window]
            c = inputs["c"] | {"c_crossattn": inputs["c"]["c_crossattn"][rows]}
            c["transformer_options"] = c["transformer_options"] | {"ad_params": {"sub_idxs": window}}
            out[rows] = apply_model(inputs["input"][rows], inputs["timestep"][rows], **c)
        return out

    patched = model.clone()
    patched.set_model_unet_function_wrapper(wrapper)
    return patched


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_window_of_an_animation_gets_the_garments_of_its_images(
    model: Any, garment_of_two: Any, noise: Tensor, order: str
):
    def with_garments(model: Any) -> Any:
        return apply_garment_advanced(model, garment_of_two, batch="one per image")

    windows = [[0, 2], [1]]
    both = with_garments(in_windows(model, windows)) if order == "before" else in_windows(with_garments(model), windows)
    assert parity.relative_error(predict(both, noise), predict(with_garments(model), noise)) <= 2e-4


def test_comfyuis_own_context_windows(model: Any, garment_of_two: Any):
    with_garment = apply_garment_advanced(model, garment_of_two, batch="one per image")
    windows = {"context_length": 3, "context_overlap": 1, "context_schedule": "standard_static", "context_stride": 1}
    windows |= {"closed_loop": False, "fuse_method": "flat", "dim": 0, "freenoise": False}
    latent = torch.zeros(5, 4, 10, 8)
    ours = sample(comfyui.call("ContextWindowsManual", model=with_garment, **windows), latent=latent, steps=1)
    assert parity.relative_error(ours, sample(with_garment, latent=latent, steps=1)) <= 2e-4
