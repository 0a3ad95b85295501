"""The paper's objective, ‖ε_θ(z_t, C_t, C_g, t) − ε‖², and what may be done to it: noise offset, min-SNR."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomDraws:
    """All that is random about one training sample, or a batch of them: functions of seed and position alone.

    timestep: t, (batch,), 0 … 999. noise: ε, (batch, 4, h, w). offset: (batch, 4, 1, 1), the noise offset's own noise.
    person, garment: (batch, 4, h, w), which of the VAE's latents each image becomes.
    """

    timestep: Tensor
    noise: Tensor
    offset: Tensor
    person: Tensor
    garment: Tensor


def noise_schedule(zero_terminal_snr: bool = False) -> Any:
    """Return SD1.5's noise schedule, diffusers' ``DDPMScheduler``: scaled linear β, 0.00085 … 0.012, 1000 steps.

    zero_terminal_snr: rescale it as the official script does (train.py, ``rescale_betas_zero_snr``). At t = 999 z_t
        then holds nothing of the image, and no sampler of the official scripts uses such a schedule.
    """
    from diffusers import DDPMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        rescale_betas_zero_snr=zero_terminal_snr,
    )


def add_noise(latent: Tensor, noise: Tensor, alphas_cumprod: Tensor, timestep: Tensor) -> Tensor:
    """Return z_t = √ᾱ_t·z_0 + √(1 − ᾱ_t)·ε."""
    alpha = alphas_cumprod.to(latent)[timestep].view(-1, 1, 1, 1)
    return alpha.sqrt() * latent + (1 - alpha).sqrt() * noise


def offset_noise(noise: Tensor, offset: Tensor, strength: float) -> Tensor:
    """Return ε with one further random number per image and channel, times ``strength``: both the noise and the target.

    Source: official train.py, ``noise_offset``. At 0 the paper's ε.
    """
    return noise + strength * offset


def sample_latent(moments: Tensor, noise: Tensor, scaling_factor: float) -> Tensor:
    """Return a latent that the VAE's encoder means, scaled: (mean + std·noise)·factor.

    moments: (batch, 8, h, w), mean and log-variance, as the VAE gives them and the cache keeps them.
    """
    mean, logvar = moments.chunk(2, dim=1)
    return (mean + (0.5 * logvar.clamp(-30, 20)).exp() * noise) * scaling_factor


def ldm_loss(prediction: Tensor, noise: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of ‖ε_θ − ε‖² over the batch, each sample times its ``weight``, (batch,); a scalar.

    In float32 at least, whatever precision the prediction was made in.
    """
    precision = torch.promote_types(prediction.dtype, torch.float32)
    errors = (prediction.to(precision) - noise.to(precision)).square().mean(dim=(1, 2, 3))  # (batch,)
    return (errors if weight is None else errors * weight).mean()


def min_snr_weight(alphas_cumprod: Tensor, timestep: Tensor, gamma: float) -> Tensor:
    """Return min(SNR, γ) / SNR for each sample, (batch,), SNR = ᾱ_t / (1 − ᾱ_t).

    Source: Hang et al., arXiv 2303.09556, for ε-prediction; official ``snr_gamma``. No SNR, as at zero terminal SNR,
    weighs 1.
    """
    alpha = alphas_cumprod[timestep.to(alphas_cumprod.device)].to(timestep.device)
    return (gamma * (1 - alpha) / alpha).clamp(max=1)
