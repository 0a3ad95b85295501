"""Garment Heat Map: where each garment acts in a finished image."""

from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import other_nodes
from support.plain_reference import garment_by_hooks, plain_attention
from support.sampling import apply_garment, apply_garment_advanced, prompt, random, sample, traces

LATENT = (2, 4, 12, 8)


def look(model: Any, latent: torch.Tensor | None = None, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (images, shares) of the node for a latent of two images."""
    latent = random(*LATENT, seed=2) if latent is None else latent
    height, width = (8 * side for side in latent.shape[-2:])
    settings = {"positive": prompt("prompt"), "layers": "all", "steps": 2}
    settings |= {"samples": {"samples": latent}, "image": torch.full((len(latent), height, width, 3), 0.5)}
    return comfyui.call(
        "IMAGDressingHeatMap",
        model=model,
        **(settings | inputs),
    )


def left_half() -> torch.Tensor:
    mask = torch.zeros(1, 96, 64)
    mask[:, :, :32] = 1
    return mask


def test_each_garment_is_hot_in_its_own_mask_only(model: Any, garment: Any, other_garment: Any):
    with_garment = apply_garment(model, garment, mask=left_half())
    with_garment = apply_garment(with_garment, other_garment, mask=1 - left_half())
    images, shares = look(with_garment, layers="texture")
    assert images.shape == (4, 96, 64, 3)
    assert shares.shape == (4, 96, 64)
    left, right = shares[:, :, :16].mean((1, 2)), shares[:, :, 48:].mean((1, 2))
    assert bool((left[:2] > 0.05).all()) and bool((right[:2] < 1e-6).all())
    assert bool((right[2:] > 0.05).all()) and bool((left[2:] < 1e-6).all())


def test_the_share_is_that_of_the_attention_as_sampled(model: Any, garment: Any):
    weak, strong = (look(apply_garment(model, garment, strength=strength))[1].mean() for strength in (0.2, 1.0))
    assert 0 < weak < strong < 1


@pytest.mark.parametrize("number", [0, 5, 15])
def test_the_share_is_equation_5_written_out(model: Any, garment: Any, number: int):
    strength, latent = 0.7, random(1, *LATENT[1:], seed=2)
    shares = look(apply_garment(model, garment, strength=strength), latent, layers=f"{number}:1", steps=1)[1]

    layer = comfyui.pack("imagdressing_core.model.layers").LAYERS[number]
    attention = model.get_model_object(f"diffusion_model.{layer.ldm_name}.attn1")
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        attention.to_q.register_forward_hook(lambda _, __, q: seen.update(q=q.clone())),
        attention.to_out.register_forward_pre_hook(lambda _, args: seen.update(z=args[0].clone())),
    ]
    with garment_by_hooks(model, garment, strength, [prompt("prompt")[0][0]]):
        predict_at_half(model, latent)
    for hook in hooks:
        hook.remove()
    kv = garment.images[0].layers[layer.index]
    term = strength * plain_attention(seen["q"][0], kv.k[0], kv.v[0], attention.heads).norm(dim=-1)
    share = (term / (seen["z"][0].double().norm(dim=-1) + term)).float().reshape(1, 1, *layer.grid(*LATENT[2:]))
    for size in (LATENT[2:], shares.shape[1:]):
        share = torch.nn.functional.interpolate(share, tuple(size), mode="bilinear", align_corners=False)
    torch.testing.assert_close(shares, share[0], atol=1e-5, rtol=1e-5)


def predict_at_half(model: Any, latent: torch.Tensor) -> None:
    """Have the model predict the noise of the latent at half of the sampling, as the node does with one step."""
    import comfy.sample
    import comfy.samplers

    def once(denoise: Any, noise: torch.Tensor, sigmas: torch.Tensor, extra_args: Any, **_: Any) -> torch.Tensor:
        denoise(noise, sigmas[:1], **extra_args)
        return noise

    sigma = model.get_model_object("model_sampling").percent_to_sigma(0.5)
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": prompt("prompt")})
    guider.set_cfg(1.0)
    noise = comfy.sample.prepare_noise(latent, 0)
    guider.sample(noise, latent, comfy.samplers.KSAMPLER(once), torch.tensor([sigma, 0.0]), disable_pbar=True, seed=0)


def test_the_same_garment_twice_gives_two_maps(model: Any, garment: Any):
    shares = look(apply_garment(apply_garment(model, garment), garment, strength=0.5))[1]
    assert len(shares) == 4
    assert shares[:2].mean() > shares[2:].mean() > 0


@pytest.mark.parametrize("name", ["ControlNet", "area", "mask"])
def test_a_second_prompt_beside_the_first_does_not_make_the_garment_hotter(model: Any, garment: Any, name: str):
    with_garment = apply_garment(model, garment)
    first, (second, _) = prompt("prompt"), other_nodes.PROMPT_PATCHES[name](prompt("prompt"), prompt("negative"))
    alone, both = (look(with_garment, positive=positive)[1] for positive in (first, [*first, *second]))
    assert (both - alone).abs().max() < 0.1 * alone.mean()


@pytest.mark.parametrize("name", ["PAG", "SAG", "NAG", "rescaled guidance"])
def test_guidance_nodes_do_not_change_the_shares(model: Any, garment: Any, name: str):
    with_garment, latent = apply_garment(model, garment), random(1, 4, 16, 16, seed=2)
    alone, guided = (look(one, latent)[1] for one in (with_garment, other_nodes.MODEL_PATCHES[name](with_garment)))
    torch.testing.assert_close(guided, alone)


def test_an_image_in_two_context_windows_is_as_hot_as_in_one(model: Any, garment: Any):
    with_garment, latent = apply_garment(model, garment), random(6, 4, 8, 8, seed=2)
    windows = {"context_length": 4, "context_overlap": 2, "context_schedule": "standard_static", "context_stride": 1}
    windows |= {"closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False}
    in_windows = comfyui.call("ContextWindowsManual", model=with_garment, **windows)
    torch.testing.assert_close(look(in_windows, latent)[1], look(with_garment, latent)[1])


def test_only_the_chosen_layers_and_steps_count(model: Any, garment: Any):
    with_garment = apply_garment_advanced(model, garment, layers="texture", end_percent=0.5)
    every, texture = (look(with_garment, layers=layers)[1] for layers in ("all", "texture"))
    assert 0 < every.mean() < texture.mean()
    with pytest.raises(Exception, match="No garment acts in the chosen layers"):
        look(with_garment, layers="shape", steps=1)


def test_a_number_of_steps_from_a_node_of_floats_is_taken(model: Any, garment: Any):
    applied = apply_garment(model, garment)
    assert torch.equal(look(applied, steps=2.0)[1], look(applied, steps=2)[1])


def test_weights_below_zero_are_refused(model: Any, garment: Any):
    with pytest.raises(Exception, match="layers has the weight -1 for layer 1, and a heat map adds up shares"):
        look(apply_garment(model, garment), layers="0:1, 1:-1")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"samples": {"samples": torch.zeros(1, 16, 12, 8)}}, "samples has the shape"),
        ({"samples": {"samples": torch.zeros(0, 4, 12, 8)}}, "samples has the shape"),
        ({"samples": {"samples": torch.full(LATENT, torch.nan)}}, "samples holds NaN"),
        ({"image": torch.zeros(96, 64, 3)}, "image must be a batch of images"),
        ({"image": torch.zeros(0, 96, 64, 3)}, "image must be a batch of images"),
        ({"image": torch.full((2, 96, 64, 3), torch.nan)}, "image holds NaN"),
        ({"image": torch.zeros(3, 96, 64, 3)}, "image has 3 images and samples has 2"),
    ],
    ids=["other family", "no latent", "NaN latent", "rank", "no image", "NaN image", "more images"],
)
def test_what_cannot_be_looked_at_is_refused_by_its_socket(model: Any, garment: Any, inputs: Any, message: str):
    with pytest.raises(Exception, match=message) as refusal:
        look(apply_garment(model, garment), **inputs)
    assert type(refusal.value).__name__ == "IMAGDressingError"


def test_one_garment_for_each_image(model: Any, garment_of_two: Any):
    shares = look(apply_garment_advanced(model, garment_of_two, batch="one per image"))[1]
    assert shares.shape[0] == 2
    assert bool((shares.mean((1, 2)) > 0).all())


def test_a_model_without_a_garment_is_rejected_with_a_message(model: Any, garment: Any):
    with pytest.raises(Exception, match="model has no garment"):
        look(apply_garment(model, garment, strength=0.0))


def test_looking_leaves_the_model_and_its_images_as_they_were(model: Any, garment: Any):
    with_garment = apply_garment(model, garment)
    before, image = traces(with_garment), sample(with_garment)
    look(with_garment)
    assert traces(with_garment) == before
    assert torch.equal(sample(with_garment), image)
