"""The paper's loss (Eq. 6), ‖ε_θ(z_t, C_t, C_g, t) − ε‖², and two optional changes to it: noise offset and min-SNR."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..on_diffusers.official import NOISE_SCHEDULE


class RandomDraws(NamedTuple):
    """The random numbers of a training sample or, by PyTorch's collation, of a batch of them.

    They depend on the seed and each sample's position only.

    Attributes:
        timestep: t, (batch,), 0 … 999.
        noise: ε, (batch, 4, h, w).
        offset: The noise offset's own random numbers, (batch, 4, 1, 1).
        person: Which latent of the VAE's posterior the person becomes, (batch, 4, h, w).
        garment: The same for the garment, (batch, 4, h, w).
    """

    timestep: Tensor
    noise: Tensor
    offset: Tensor
    person: Tensor
    garment: Tensor


def noise_schedule(zero_terminal_snr: bool = False) -> Any:
    """Return SD1.5's noise schedule as diffusers' ``DDPMScheduler``: scaled linear β, 0.00085 … 0.012, 1000 steps.

    Args:
        zero_terminal_snr: Rescale it as the official script does (train.py, ``rescale_betas_zero_snr``). At t = 999
            z_t then holds nothing of the image. No sampler of the official scripts uses such a schedule.
    """
    from diffusers import DDPMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDPMScheduler(
        **NOISE_SCHEDULE,  # pyright: ignore[reportArgumentType]
        rescale_betas_zero_snr=zero_terminal_snr,
    )


def add_noise(latent: Tensor, noise: Tensor, alphas_cumprod: Tensor, timestep: Tensor) -> Tensor:
    """Return z_t = √ᾱ_t·z_0 + √(1 − ᾱ_t)·ε."""
    alpha = alphas_cumprod.to(latent)[timestep].view(-1, 1, 1, 1)
    return alpha.sqrt() * latent + (1 - alpha).sqrt() * noise


def offset_noise(noise: Tensor, offset: Tensor, strength: float) -> Tensor:
    """Add one random number per image and channel, times ``strength``, to ε. The result is both noise and target.

    Source: official train.py, ``noise_offset``. At strength 0 this is the paper's ε.
    """
    return noise + strength * offset


def sample_latent(moments: Tensor, noise: Tensor, scaling_factor: float) -> Tensor:
    """Sample a latent from the VAE's posterior and scale it: (mean + std·noise)·factor.

    Args:
        moments: Mean and log-variance, (batch, 8, h, w), as the VAE returns them and the cache stores them.
        noise: Standard normal, (batch, 4, h, w).
        scaling_factor: The VAE's own.
    """
    mean, logvar = moments.chunk(2, dim=1)
    return (mean + (0.5 * logvar.clamp(-30, 20)).exp() * noise) * scaling_factor


def ldm_loss(prediction: Tensor, noise: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of ‖ε_θ − ε‖² over the batch (paper Eq. 6), a scalar in float32 or wider.

    Args:
        prediction: ε_θ, (batch, 4, h, w), in any precision.
        noise: ε, of the same shape.
        weight: A factor for each sample, (batch,).
    """
    precision = torch.promote_types(prediction.dtype, torch.float32)
    errors = (prediction.to(precision) - noise.to(precision)).square().mean(dim=(1, 2, 3))  # (batch,)
    return (errors if weight is None else errors * weight).mean()


def min_snr_weight(alphas_cumprod: Tensor, timestep: Tensor, gamma: float) -> Tensor:
    """Return min(SNR, γ) / SNR for each sample, (batch,), SNR = ᾱ_t / (1 − ᾱ_t).

    Source: Hang et al., arXiv 2303.09556, for ε-prediction; official ``snr_gamma``. Where the SNR is 0, as at t = 999
    with zero terminal SNR, the weight is 1.
    """
    alpha = alphas_cumprod[timestep.to(alphas_cumprod.device)].to(timestep.device)
    return (gamma * (1 - alpha) / alpha).clamp(max=1)
