"""λ and windows over time follow the model's own schedule, whatever a ModelSampling node made of it."""

from typing import Any

import pytest
from support import comfyui_process as comfyui
from support.narrow_unet import narrow_model

MODEL_SAMPLINGS: dict[str, Any] = {
    "SD1.5's own": lambda model: model,
    "LCM": lambda model: comfyui.call("ModelSamplingDiscrete", model=model, sampling="lcm", zsnr=False),
    "zero terminal SNR": lambda model: comfyui.call("ModelSamplingDiscrete", model=model, sampling="eps", zsnr=True),
    "continuous EDM": lambda model: comfyui.call(
        "ModelSamplingContinuousEDM", model=model, sampling="eps", sigma_max=120.0, sigma_min=0.002
    ),
    "continuous V": lambda model: comfyui.call(
        "ModelSamplingContinuousV", model=model, sampling="v_prediction", sigma_max=500.0, sigma_min=0.03
    ),
}


def schedule_of(name: str) -> Any:
    model_sampling = MODEL_SAMPLINGS[name](narrow_model()).get_model_object("model_sampling")
    return comfyui.pack("nodes.comfyui.noise_schedule").NoiseSchedule(model_sampling), model_sampling


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_it_is_the_inverse_of_the_models_own(name: str):
    schedule, model_sampling = schedule_of(name)
    for percent in (0.001, 0.1, 0.25, 0.4999, 0.5, 0.75, 0.999):
        assert schedule.percent(model_sampling.percent_to_sigma(percent)) == pytest.approx(percent, abs=2e-3)


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_it_begins_with_0_and_ends_with_1(name: str):
    schedule, model_sampling = schedule_of(name)
    assert schedule.percent(float(model_sampling.sigma_max)) == pytest.approx(0, abs=2e-3)
    # The distilled schedule of LCM has 50 noise levels, of which the last is reached at 98 %.
    assert schedule.percent(float(model_sampling.sigma_min)) == pytest.approx(1, abs=0.02)
    assert schedule.percent(1e6) == 0
    assert schedule.percent(1e-6) >= 0.98


def test_it_is_exact_at_each_of_sd15s_noise_levels():
    schedule, model_sampling = schedule_of("SD1.5's own")
    for timestep in (999, 981, 501, 1, 0):
        sigma = float(model_sampling.sigmas[timestep])
        assert schedule.percent(sigma) == pytest.approx(1 - timestep / 999, abs=1e-5)
