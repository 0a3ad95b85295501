"""The garment together with everything else, in any node order, against hybrid attention written out plainly."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import other_nodes, parity, sampling
from support.narrow_unet import narrow_model
from support.other_nodes import MODEL_PATCHES, PROMPT_PATCHES
from support.plain_reference import garment_by_hooks
from support.sampling import prompt, sample
from torch import Tensor

STRENGTH = 0.8
LIMIT = 1e-4  # what processors round differently grows along the steps; a garment missed is 0.01 or more


def apply_garment(model: Any, garment: Any, **inputs: Any) -> Any:
    return sampling.apply_garment(model, garment, strength=STRENGTH, **inputs)


def assert_same_garment(ours: Tensor, reference: Tensor, plain: Tensor) -> None:
    """Assert that what the garment changes is the same, and that it changes something."""
    assert parity.relative_error(reference, plain) > 0.01
    assert parity.relative_error(ours, reference) <= LIMIT


def by_hooks(model: Any, garment: Any, prompts: Sequence[Tensor] = ()) -> Any:
    return garment_by_hooks(model, garment, STRENGTH, [parity.vectors()["input.prompt"], *prompts])


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", MODEL_PATCHES)
def test_with_what_other_nodes_do_to_the_model(model: Any, garment: Any, name: str, order: str):
    patch = MODEL_PATCHES[name]
    both = apply_garment(patch(model), garment) if order == "before" else patch(apply_garment(model, garment))
    patched = patch(model)
    # Large enough for HyperTile to cut, and for SAG to find the shape of the middle block's tokens.
    latent = torch.zeros(1, 4, 16, 16) if name in ("HyperTile", "SAG") else None
    with by_hooks(model, garment):
        reference = sample(patched, latent=latent)
    plain = sample(patched, latent=latent)
    assert parity.relative_error(plain, sample(model, latent=latent)) > 1e-5, "the other node does nothing here"
    assert_same_garment(sample(both, latent=latent), reference, plain)


@pytest.mark.parametrize("name", PROMPT_PATCHES)
def test_with_what_other_nodes_do_to_the_prompt(model: Any, garment: Any, name: str):
    conditioning = PROMPT_PATCHES[name](prompt("prompt"), prompt("negative"))
    with by_hooks(model, garment, [other_nodes.second_prompt()]):
        reference = sample(model, *conditioning)
    plain = sample(model, *conditioning)
    assert parity.relative_error(plain, sample(model)) > 1e-5, "the other node does nothing here"
    assert_same_garment(sample(apply_garment(model, garment), *conditioning), reference, plain)


@pytest.mark.parametrize("order", ["before", "after"])
def test_with_everything_at_once(model: Any, garment: Any, order: str):
    def patch(model: Any) -> Any:
        for name in ("LoRA", "FreeU", "PAG", "IP-Adapter"):
            model = MODEL_PATCHES[name](model)
        return model

    conditioning = PROMPT_PATCHES["ControlNet"](prompt("prompt"), prompt("negative"))
    both = apply_garment(patch(model), garment) if order == "before" else patch(apply_garment(model, garment))
    with by_hooks(model, garment):
        reference = sample(patch(model), *conditioning)
    assert_same_garment(sample(both, *conditioning), reference, sample(patch(model), *conditioning))


def test_at_cfg_1_only_the_conditional_row_exists(model: Any, garment: Any):
    with by_hooks(model, garment):
        reference = sample(model, cfg=1.0)
    assert_same_garment(sample(apply_garment(model, garment), cfg=1.0), reference, sample(model, cfg=1.0))


def test_conditional_and_unconditional_in_separate_calls(model: Any, garment: Any, monkeypatch: pytest.MonkeyPatch):
    import comfy.model_management

    with_garment = apply_garment(model, garment)
    together = sample(with_garment)
    rows: list[int] = []
    hook = model.model.diffusion_model.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    free = comfy.model_management.get_free_memory
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *args: free(*args) if any(args[1:]) else 0)
    apart = sample(with_garment)
    hook.remove()
    assert set(rows) == {1}, "ComfyUI was meant to compute one prompt at a time"
    assert parity.relative_error(apart, together) <= 1e-4


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "uni_pc", "lcm", "heun"])
def test_with_other_samplers(model: Any, garment: Any, sampler: str):
    with by_hooks(model, garment):
        reference = sample(model, sampler_name=sampler)
    assert_same_garment(
        sample(apply_garment(model, garment), sampler_name=sampler), reference, sample(model, sampler_name=sampler)
    )


def test_in_a_second_pass_at_another_size(model: Any, garment: Any):
    def two_passes(model: Any) -> Tensor:
        first = {"samples": sample(model)}
        larger = comfyui.call(
            "LatentUpscale", samples=first, upscale_method="bilinear", width=96, height=120, crop="disabled"
        )
        return sample(model, latent=larger["samples"], denoise=0.5)

    with by_hooks(model, garment):
        reference = two_passes(model)
    ours = two_passes(apply_garment(model, garment))
    assert ours.shape == (1, 4, 15, 12)
    assert_same_garment(ours, reference, two_passes(model))


def guided(guider: Any) -> Tensor:
    schedule = comfyui.call("BasicScheduler", model=narrow_model(), scheduler="normal", steps=2, denoise=1.0)
    sampler = comfyui.call("KSamplerSelect", sampler_name="euler")
    noise = parity.vectors()["input.noise"]
    return guider.sample(noise, torch.zeros_like(noise), sampler, schedule, disable_pbar=True, seed=0)


GUIDERS = {
    "perpendicular negative": lambda model: comfyui.call(
        "PerpNegGuider",
        model=model,
        positive=prompt("prompt"),
        negative=prompt("negative"),
        empty_conditioning=[[other_nodes.second_prompt(), {}]],
        cfg=4.0,
        neg_scale=1.0,
    ),
    "dual cfg": lambda model: comfyui.call(
        "DualCFGGuider",
        model=model,
        cond1=prompt("prompt"),
        cond2=[[other_nodes.second_prompt(), {}]],
        negative=prompt("negative"),
        cfg_conds=4.0,
        cfg_cond2_negative=3.0,
        style="regular",
    ),
}


@pytest.mark.parametrize("name", GUIDERS)
def test_with_guiders_of_three_prompts(model: Any, garment: Any, name: str):
    make = GUIDERS[name]
    also = [other_nodes.second_prompt()] if name == "dual cfg" else []
    with by_hooks(model, garment, also):
        reference = guided(make(model))
    assert_same_garment(guided(make(apply_garment(model, garment))), reference, guided(make(model)))


def test_a_garment_acts_where_its_mask_is(model: Any, garment: Any):
    mask = torch.zeros(200, 100)
    mask[60:150, 20:70] = torch.linspace(0, 1, 50)
    with garment_by_hooks(model, garment, STRENGTH, [parity.vectors()["input.prompt"]], mask):
        reference = sample(model)
    assert_same_garment(sample(apply_garment(model, garment, mask=mask.unsqueeze(0))), reference, sample(model))


@pytest.mark.parametrize("name", ["HyperTile", "ToMe"])
def test_where_tokens_are_tiled_or_merged_a_mask_warns_once_and_acts_everywhere(
    model: Any, garment: Any, name: str, caplog: pytest.LogCaptureFixture
):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    latent = torch.zeros(1, 4, 16, 16)
    patched = MODEL_PATCHES[name](model)
    sample(apply_garment(patched, garment, mask=mask), latent=latent)
    assert caplog.text.count("The garment acts outside its mask too") == 1


def test_outfits_add_up_over_one_base_attention(model: Any, garment: Any, other_garment: Any):
    upper, lower = torch.zeros(1, 80, 64), torch.zeros(1, 80, 64)
    upper[:, :40], lower[:, 40:] = 1, 1
    with_garment = apply_garment(apply_garment(model, garment, mask=upper), other_garment, mask=lower)
    texts = [parity.vectors()["input.prompt"]]
    with (
        garment_by_hooks(model, garment, STRENGTH, texts, upper[0]),
        garment_by_hooks(model, other_garment, STRENGTH, texts, lower[0]),
    ):
        reference = sample(model)
    assert_same_garment(sample(with_garment), reference, sample(model))
