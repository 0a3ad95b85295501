"""What a garment cannot follow is left out and said once a run; nothing is left out in silence."""

from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import stand_ins
from support.narrow_unet import POSITIVE, apply_garment, narrow_garment, narrow_model, prompt, sample
from support.parity import relative_error
from support.plain_reference import garment_by_hooks
from torch import Tensor


def left_half() -> torch.Tensor:
    mask = torch.zeros(1, 96, 64)
    mask[:, :, :32] = 1
    return mask


EMPTY = "The mask is empty, so "
INVERTED = "The mask marks the corners and leaves the middle out"


def unet_bypassed(model: Any) -> Any:
    """DeepCache: runs the U-Net's blocks itself, past everything that ComfyUI calls wrappers for."""

    def wrapper(apply: Any, inputs: Any) -> Tensor:
        base, (x, sigma, c) = narrow_model().model, (inputs[key] for key in ("input", "timestep", "c"))
        options = c["transformer_options"] | {"original_shape": list(x.shape), "transformer_index": 0}
        scaled = base.model_sampling.calculate_input(sigma, x)
        steps = base.model_sampling.timestep(sigma).float()
        out = type(base.diffusion_model)._forward(
            base.diffusion_model, scaled, steps, c["c_crossattn"], None, None, options
        )
        return base.model_sampling.calculate_denoised(sigma, out, x)

    return stand_ins.function_wrapper(wrapper)(model)


@pytest.mark.parametrize(("inside", "around", "text"), [(0.0, 0.0, EMPTY), (0.0, 1.0, INVERTED)])
@pytest.mark.parametrize("garments", [1, 2])
def test_a_mask_that_is_rarely_meant_so_is_said_once_a_run(
    said: Any, inside: float, around: float, text: str, garments: int
):
    mask = torch.full((1, 96, 64), around)
    mask[:, 24:72, 16:48] = inside
    model = narrow_model()
    for _ in range(garments):
        model = apply_garment(model, mask=mask)
    sample(model)
    (found,) = said()
    assert found.startswith(text)
    if inside == around:
        assert "the garment acts nowhere" in found
        assert torch.equal(sample(model), sample(narrow_model()))


@pytest.mark.parametrize("mask", [left_half(), torch.ones(1, 96, 64), None])
def test_a_usual_mask_is_not_doubted(said: Any, mask: torch.Tensor | None):
    sample(apply_garment(narrow_model(), mask=mask))
    assert said() == []


@pytest.mark.parametrize(
    ("images", "masks", "batch", "settings", "text"),
    [
        (3, 1, 2, {"batch": "one per image"}, "Only the first 2 of 3 garment images are used"),
        (1, 3, 2, {}, "Only the first 2 of 3 masks are used"),
        (3, 3, 1, {"batch": "one per image"}, "Only the first 1 of 3 garment images and of 3 masks are used"),
        (3, 1, 1, {"batch": "broadcast"}, None),
        (2, 2, 3, {"batch": "one per image"}, None),
    ],
    ids=["garments", "masks", "both", "broadcast", "larger batch"],
)
def test_what_the_batch_is_too_small_for(
    said: Any, images: int, masks: int, batch: int, settings: Any, text: str | None
):
    model = apply_garment(narrow_model(), narrow_garment(images), mask=left_half().repeat(masks, 1, 1), **settings)
    sample(model, batch=batch)
    assert [found[: len(text or "")] for found in said()] == ([] if text is None else [text])


def test_a_garment_that_was_never_asked(said: Any):
    bypassed = unet_bypassed(narrow_model())
    assert torch.equal(sample(apply_garment(bypassed)), sample(bypassed))
    (text,) = said()
    assert text.startswith("The garment did not act: another node")


@pytest.mark.parametrize(("start", "end"), [(0.4, 0.42), (0.9, 0.95)])
def test_a_window_between_two_steps(said: Any, start: float, end: float):
    model = narrow_model()
    assert torch.equal(sample(apply_garment(model, start_percent=start, end_percent=end)), sample(model))
    (text,) = said()
    assert text.startswith(f"The garment acts in no step: {start:g} to {end:g} of the sampling lies between two steps")


@pytest.mark.parametrize(("part", "start", "end"), [(0, 0.7, 1.0), (1, 0.0, 0.3)])
def test_a_garment_outside_of_its_window_was_not_meant_to_act(said: Any, part: int, start: float, end: float):
    run(apply_garment(unet_bypassed(narrow_model()), start_percent=start, end_percent=end), 4, 2, part)
    assert said() == []


@pytest.mark.parametrize(
    ("start", "end", "strength", "count"), [(0.8, 0.2, 1.0, 1), (1.0, 1.0, 1.0, 1), (0.8, 0.2, 0.0, 0)]
)
def test_a_window_that_ends_before_it_begins(said: Any, start: float, end: float, strength: float, count: int):
    apply_garment(narrow_model(), start_percent=start, end_percent=end, strength=strength)
    texts = said()
    assert len(texts) == count
    assert all(text.startswith(f"The garment never acts: it begins at {start:g} and ends at {end:g}") for text in texts)


def test_a_garment_was_not_meant_to_act_where_the_sampler_has_no_step(said: Any):
    run(apply_garment(narrow_model()), 2, 0, 0)
    assert said() == []


def run(model: Any, steps: int, split: int, part: int) -> None:
    """Sample one part of sigmas that are split."""
    sigmas = comfyui.call("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=1.0)
    comfyui.call(
        "SamplerCustomAdvanced",
        noise=comfyui.call("RandomNoise", noise_seed=1),
        guider=comfyui.call("BasicGuider", model=model, conditioning=prompt()),
        sampler=comfyui.call("KSamplerSelect", sampler_name="euler"),
        sigmas=comfyui.call("SplitSigmas", sigmas=sigmas, step=split)[part],
        latent_image={"samples": torch.zeros(1, 4, 8, 8)},
    )


class WithoutProjections(torch.nn.Module):
    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return 0.1 * x


@pytest.mark.parametrize("count", [1, 16])
def test_layers_whose_projections_are_never_used(said: Any, count: int):
    patched = narrow_model().clone()
    for layer in comfyui.pack("imagdressing_core.model.layers").LAYERS[:count]:
        patched.add_object_patch(f"diffusion_model.{layer.ldm_name}.attn1", WithoutProjections())
    sample(apply_garment(patched))
    (text,) = said()
    assert text.startswith(f"The garment did not act in {count} of its 16 layers: another node computes their")


def test_rows_that_nothing_explains(said: Any):
    def other_texts(apply: Any, inputs: Any) -> torch.Tensor:
        x, sigma, c = inputs["input"], inputs["timestep"], inputs["c"]
        context = torch.randn(3, 77, 768, generator=torch.Generator().manual_seed(1))
        apply(x[:1].repeat(3, 1, 1, 1), sigma[:1].repeat(3), **c | {"c_crossattn": context})
        return apply(x, sigma, **c)

    with_garment = sample(apply_garment(stand_ins.function_wrapper(other_texts)(narrow_model())))
    assert torch.equal(with_garment, sample(apply_garment(narrow_model())))
    (text,) = said()
    assert text.startswith("Some rows of the batch go without the garment")


def test_an_image_that_nothing_tells_under_one_per_image(said: Any):
    patched = stand_ins.STAND_INS["image by image"](narrow_model())
    ours = sample(apply_garment(patched, narrow_garment(2), batch="one per image"), batch=2)
    assert relative_error(ours, sample(patched, batch=2)) <= 1e-6
    (text,) = said()
    assert text.startswith("Some rows of the batch go without the garment")


def test_a_mask_of_another_shape_than_what_is_sampled(said: Any):
    masked = apply_garment(narrow_model(), mask=left_half())
    sample(masked, size=(8, 8))  # as an upscaler's tile or a detailer's crop
    (text,) = said()
    assert text.startswith("The mask is stretched: it is 64 × 96, and what is sampled, 64 × 64 pixels")
    for size in ((12, 8), (24, 16), (13, 9)):
        sample(masked, size=size)
    assert said() == []


@pytest.mark.parametrize("told", [True, False], ids=["this ComfyUI", "a release that does not tell options"])
def test_options_copied_before_apply_garment(said: Any, monkeypatch: pytest.MonkeyPatch, told: bool):
    if not told:
        wrappers = comfyui.pack("nodes.comfyui.wrappers").GarmentWrappers
        original = wrappers.prepare_state
        monkeypatch.setattr(
            wrappers, "prepare_state", lambda self, patcher, timestep, *_: original(self, patcher, timestep)
        )
    acts = told and comfyui.tells_callbacks_its_options()
    copied = stand_ins.options_copied(narrow_model())
    assert (relative_error(sample(apply_garment(copied)), sample(copied)) > 0.01) == acts
    texts = said()
    assert len(texts) == (not acts)
    assert acts or "Put Apply Garment before that node" in texts[0]


def test_a_node_that_copies_options_between_two_garments_loses_neither(said: Any):
    other = narrow_garment(1, 8, 8)
    both = apply_garment(stand_ins.options_copied(apply_garment(narrow_model())), other)
    texts = [prompt(POSITIVE)[0][0]]
    with (
        garment_by_hooks(narrow_model(), narrow_garment(), 1.0, texts),
        garment_by_hooks(narrow_model(), other, 1.0, texts),
    ):
        reference = sample(stand_ins.options_copied(narrow_model()))
    assert relative_error(sample(both), reference) <= 1e-5
    assert said() == []


def test_what_was_put_into_another_nodes_options_is_taken_out_again():
    import comfy.samplers

    patched = narrow_model().clone()
    kept: dict[str, Any] = {"transformer_options": {}}

    def pre_cfg(args: Any) -> Any:
        conds, x, sigma = [args["conds"][0]], args["input"], args["timestep"]
        return [*comfy.samplers.calc_cond_batch(args["model"], conds, x, sigma, kept), *args["conds_out"][1:]]

    patched.set_model_sampler_pre_cfg_function(pre_cfg)
    with_garment = sample(apply_garment(patched))
    acts = comfyui.tells_callbacks_its_options()
    assert (relative_error(with_garment, sample(patched)) > 0.01) == acts
    assert kept["transformer_options"].get("wrappers") == ({"apply_model": {}} if acts else None)
