"""Apply Garment: what it changes, when, and that it leaves the user's MODEL alone."""

from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import parity
from support.sampling import apply_garment, traces


def checksum(model: Any) -> float:
    return float(sum(parameter.double().sum() for parameter in model.model.diffusion_model.parameters()))


@pytest.fixture(scope="module")
def plain(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return parity.noise_prediction(model, 501)


def test_a_garment_changes_the_conditional_prediction(model: Any, garment: Any, plain: torch.Tensor):
    assert parity.relative_error(parity.noise_prediction(apply_garment(model, garment), 501), plain) > 0.01


def test_a_garment_leaves_the_unconditional_prediction_bit_for_bit(model: Any, garment: Any):
    with_garment = parity.noise_prediction(apply_garment(model, garment), 501, cfg=0.0)
    assert torch.equal(with_garment, parity.noise_prediction(model, 501, cfg=0.0))


@pytest.mark.parametrize(
    "inputs",
    [{"strength": 0.0}, {"start_percent": 0.5, "end_percent": 0.5}, {"start_percent": 0.6, "end_percent": 0.4}],
    ids=["strength 0", "empty window", "window that ends before it starts"],
)
def test_a_garment_that_never_acts_is_the_model_without_it(
    model: Any, garment: Any, plain: torch.Tensor, inputs: dict[str, float]
):
    idle = apply_garment(model, garment, **inputs)
    assert torch.equal(parity.noise_prediction(idle, 501), plain)
    assert traces(idle) == traces(model.clone())


def test_a_garment_outside_its_window_is_the_model_without_it(model: Any, garment: Any, plain: torch.Tensor):
    sampling = model.get_model_object("model_sampling")
    late = apply_garment(model, garment, start_percent=0.8)
    early = apply_garment(model, garment, end_percent=0.2)
    assert sampling.percent_to_sigma(0.2) > sampling.sigmas[501] > sampling.percent_to_sigma(0.8)
    assert torch.equal(parity.noise_prediction(late, 501), plain)
    assert torch.equal(parity.noise_prediction(early, 501), plain)


def test_inside_its_window_a_garment_acts_as_without_one(model: Any, garment: Any):
    whole = parity.noise_prediction(apply_garment(model, garment), 501)
    part = parity.noise_prediction(apply_garment(model, garment, start_percent=0.2, end_percent=0.8), 501)
    assert torch.equal(part, whole)


def test_windows_that_meet_neither_overlap_nor_leave_a_gap(model: Any, garment: Any):
    sampling = model.get_model_object("model_sampling")
    border = float(sampling.percent_to_sigma(0.5))
    timestep = int((sampling.sigmas - border).abs().argmin())
    early = apply_garment(model, garment, end_percent=0.5)
    both = apply_garment(early, garment, start_percent=0.5)
    whole = parity.noise_prediction(apply_garment(model, garment), timestep)
    assert torch.equal(parity.noise_prediction(both, timestep), whole)


def test_the_users_model_is_not_mutated(model: Any, garment: Any, plain: torch.Tensor):
    before = traces(model), checksum(model)
    for _ in range(10):
        parity.noise_prediction(apply_garment(model, garment).clone(), 501)
    assert (traces(model), checksum(model)) == before
    assert torch.equal(parity.noise_prediction(model, 501), plain)


def test_nothing_of_a_sampling_run_stays_on_the_model(model: Any, garment: Any):
    with_garment = apply_garment(model, garment)
    before = traces(with_garment)
    parity.noise_prediction(with_garment, 501)
    assert traces(with_garment) == before


def test_a_sampler_that_fails_leaves_the_model_usable(model: Any, garment: Any):
    import comfy.samplers

    def fail(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("the sampler is at fault")

    with_garment = apply_garment(model, garment)
    expected, before = parity.noise_prediction(with_garment, 501), traces(with_garment)
    noise = parity.vectors()["input.noise"]
    with pytest.raises(RuntimeError, match="the sampler is at fault"):
        parity.sample(with_garment, comfy.samplers.KSAMPLER(fail), torch.tensor([1.0, 0.0]), noise, 1.0)
    assert traces(with_garment) == before
    assert torch.equal(parity.noise_prediction(with_garment, 501), expected)


def test_a_clone_copies_no_garment_tensor(model: Any, garment: Any):
    wrappers = comfyui.pack("nodes.comfyui.wrappers")
    with_garment = apply_garment(model, garment)
    (applied,) = wrappers.applied_garments(with_garment.clone())
    assert applied.garment is garment


def test_two_equal_garments_at_half_strength_equal_one(model: Any, garment: Any):
    two = apply_garment(apply_garment(model, garment, strength=0.5), garment, strength=0.5)
    one = apply_garment(model, garment)
    assert parity.relative_error(parity.noise_prediction(two, 501), parity.noise_prediction(one, 501)) <= 1e-5


def test_the_order_of_garments_does_not_matter(model: Any, garment: Any, other_garment: Any):
    one_way = apply_garment(apply_garment(model, garment, strength=0.7), other_garment, strength=0.4)
    other_way = apply_garment(apply_garment(model, other_garment, strength=0.4), garment, strength=0.7)
    ours, theirs = (parity.noise_prediction(with_garment, 501) for with_garment in (one_way, other_way))
    assert parity.relative_error(ours, theirs) <= 1e-4


def test_a_mask_of_ones_is_no_mask_bit_for_bit(model: Any, garment: Any):
    masked = apply_garment(model, garment, mask=torch.ones(1, 100, 60))
    assert torch.equal(
        parity.noise_prediction(masked, 501), parity.noise_prediction(apply_garment(model, garment), 501)
    )


def test_a_mask_of_zeros_is_the_model_without_the_garment(model: Any, garment: Any, plain: torch.Tensor):
    masked = apply_garment(model, garment, mask=torch.zeros(1, 100, 60))
    assert parity.relative_error(parity.noise_prediction(masked, 501), plain) <= 1e-6


@pytest.mark.parametrize("size", [(80, 64), (88, 72), (120, 200)], ids=str)
def test_garment_and_image_sizes_are_independent(model: Any, garment: Any, size: tuple[int, int]):
    height, width = size
    latent = {"samples": torch.zeros(1, 4, height // 8, width // 8)}
    prompt = [[parity.vectors()["input.prompt"], {}]]
    common = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    common |= {"positive": prompt, "negative": prompt, "latent_image": latent, "denoise": 1.0}
    with_garment = comfyui.call("KSampler", model=apply_garment(model, garment), **common)["samples"]
    plain = comfyui.call("KSampler", model=model, **common)["samples"]
    assert with_garment.shape == latent["samples"].shape
    assert bool(torch.isfinite(with_garment).all())
    assert not torch.equal(with_garment, plain)
