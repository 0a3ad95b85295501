"""What each part of the demo's model is trained on: the model where it starts, and the loss of one batch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imagdressing_core.model.hybrid_attention import GarmentProjections
from imagdressing_core.on_diffusers.unet import (
    GarmentInputs,
    GarmentModel,
    install_hybrid_attention,
    layer_channels,
    noise_prediction,
)
from imagdressing_core.training.config import Objective
from imagdressing_core.training.model import TrainingBatch, freeze_unread, start_projections, training_loss
from imagdressing_core.training.objective import add_noise, ldm_loss, min_snr_weight, noise_schedule

from . import data, world
from .batches import (
    draws,
    garment_latents,
    moments,
    no_clip,
    some_kinds,
    some_mask,
    some_words,
    timesteps,
    worn_latents,
)
from .narrow import ConstantContext, narrow_controlnet, narrow_decoder, narrow_garment_unet, narrow_unet

GAMMA = 5.0  # of min-SNR: nearly clean images teach little
NOISY = 30.0  # the most that a noisy timestep counts for
UNDRESSED = 0.1  # of the steps of ``together``
GARMENT_WEIGHT = 8.0  # of the loss where the garment is worn, to the loss elsewhere
RATES: Mapping[str, float] = {"garment.ref_unet.": 2.5, "garment.adapter_modules.": 5.0}  # of the learning rate

Loss = Callable[[range, int], Tensor]  # of the drawn people with these numbers, in images of this width
Part = tuple[nn.Module, Loss]


def base(folder: Path, device: torch.device) -> Part:
    """The denoising U-Net: people in any clothes, by their captions."""
    unet, alphas = narrow_unet(), noise_schedule().alphas_cumprod.to(device)

    def loss(numbers: range, width: int) -> Tensor:
        people = [data.drawn(number) for number in numbers]
        latent = data.latents(world.image(one, width) for one in people).to(device)
        text = data.context(some_words(data.words(people))).to(device)
        noise, timestep = torch.randn_like(latent), timesteps(len(people)).to(device)
        prediction = unet(add_noise(latent, noise, alphas, timestep), timestep, text).sample
        return ldm_loss(prediction, noise, balanced_weight(alphas, timestep))

    return unet, loss


class Together(nn.Module):
    """The denoising U-Net and what reads the garment, ``garment``."""

    def __init__(self, unet: nn.Module, garment: GarmentModel) -> None:
        super().__init__()
        self.unet, self.garment = unet, garment


def together(folder: Path, device: torch.device) -> Part:
    """Both U-Nets and the projections: so small a denoising U-Net learns to wear garments only while it is trained.

    SD1.5 need not: its self-attention knows far more than any garment asks for.
    """
    unet = base_unet(folder, device)
    install_hybrid_attention(unet)
    alphas = noise_schedule().alphas_cumprod.to(device)
    trained = garment_model(unet)
    start_projections(trained, unet)
    freeze_unread(trained)

    def loss(numbers: range, width: int) -> Tensor:
        people = [data.drawn(number) for number in numbers]
        latent = data.latents(world.image(one, width) for one in people).to(device)
        text = data.context(some_words(data.words(people))).to(device)
        noise, timestep = torch.randn_like(latent), timesteps(len(people)).to(device)
        z_t, weight = add_noise(latent, noise, alphas, timestep), balanced_weight(alphas, timestep)
        if torch.rand(()) < UNDRESSED:
            return ldm_loss(unet(z_t, timestep, text).sample, noise, weight)
        kinds = some_kinds(people)
        layers = trained(garment_latents(people, kinds, width).to(device), no_clip(people, device))
        prediction = noise_prediction(unet, z_t, timestep, text, GarmentInputs(layers))
        worn = worn_latents(people, kinds, width).to(device)
        more = (1 + (GARMENT_WEIGHT - 1) * worn).sqrt()
        return ldm_loss(prediction * more, noise * more, weight)

    return Together(unet.requires_grad_(True), trained), loss


def garment(folder: Path, device: torch.device) -> Part:
    """Garment U-Net and projections by the paper's loss, for the frozen denoising U-Net."""
    unet = frozen_unet(folder, device)
    install_hybrid_attention(unet)
    alphas = noise_schedule().alphas_cumprod.to(device)
    trained = garment_model(unet)
    trained.load_state_dict(trained_together(folder, "garment."))
    freeze_unread(trained)
    objective = Objective(noise_offset=0.0, min_snr_gamma=GAMMA)

    def loss(numbers: range, width: int) -> Tensor:
        people = [data.drawn(number) for number in numbers]
        person = data.latents(world.image(one, width) for one in people).to(device)
        batch = TrainingBatch(
            person=moments(person),
            garment=moments(garment_latents(people, some_kinds(people), width).to(device)),
            garment_kept=torch.ones(len(people), 1, 1, 1, device=device),
            clip_hidden=no_clip(people, device),
            text=data.context(some_words(data.words(people))).to(device),
            draws=draws(person),
            scaling=1.0,
        )
        return training_loss(unet, trained, batch, objective, alphas)

    return trained, loss


def pose(folder: Path, device: torch.device) -> Part:
    """A ControlNet that reads skeletons in OpenPose's colours."""

    def condition(person: world.Person, width: int) -> Tensor:
        return data.pixels([world.pose_image(person, width)]) / 2 + 0.5

    return controlled(folder, device, condition)


def inpaint(folder: Path, device: torch.device) -> Part:
    """A ControlNet that reads what stays of an image, 0 … 1, and −1 where something new is wanted."""

    def condition(person: world.Person, width: int) -> Tensor:
        pixels = data.pixels([world.image(person, width)]) / 2 + 0.5
        return torch.where(some_mask(person, width), torch.full_like(pixels, -1.0), pixels)

    return controlled(folder, device, condition)


def controlled(folder: Path, device: torch.device, condition: Callable[[world.Person, int], Tensor]) -> Part:
    """Return a ControlNet that starts as the denoising U-Net's first half, and learns what ``condition`` shows.

    condition: of a person and a width, (1, 3, height, width) as a ControlNet takes it.
    """
    unet, alphas = frozen_unet(folder, device), noise_schedule().alphas_cumprod.to(device)
    controlnet = narrow_controlnet()
    controlnet.load_state_dict(unet.state_dict(), strict=False)

    def loss(numbers: range, width: int) -> Tensor:
        people = [data.drawn(number) for number in numbers]
        latent = data.latents(world.image(one, width) for one in people).to(device)
        seen = torch.cat([condition(one, width) for one in people]).to(device)
        text = data.context(some_words(data.words(people))).to(device)
        noise, timestep = torch.randn_like(latent), timesteps(len(people)).to(device)
        z_t = add_noise(latent, noise, alphas, timestep)
        down, middle = controlnet(z_t, timestep, text, seen, return_dict=False)
        prediction = unet(
            z_t, timestep, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return ldm_loss(prediction, noise, balanced_weight(alphas, timestep))

    return controlnet, loss


def garment_model(unet: nn.Module) -> GarmentModel:
    """Return the trained parts where they start: the garment U-Net as a copy of the denoising U-Net."""
    garment_unet = narrow_garment_unet()
    garment_unet.load_state_dict(unet.state_dict())
    projections = GarmentProjections(channels=layer_channels(garment_unet))
    return GarmentModel(garment_unet, ConstantContext(), projections)  # pyright: ignore[reportArgumentType]


def base_unet(folder: Path, device: torch.device) -> Any:
    """Return the denoising U-Net that was trained on people alone."""
    unet = narrow_unet()
    unet.load_state_dict(load_file(_trained(folder, "base")))
    return unet.to(device, memory_format=torch.channels_last)


def frozen_unet(folder: Path, device: torch.device) -> Any:
    """Return the denoising U-Net that was trained together with the garment's part."""
    unet = narrow_unet()
    unet.load_state_dict(trained_together(folder, "unet."))
    return unet.requires_grad_(False).to(device, memory_format=torch.channels_last)


def trained_together(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Return the weights that ``together`` trained of one of its models, ``unet.`` or ``garment.``."""
    weights = load_file(_trained(folder, "together"))
    return {key.removeprefix(prefix): one for key, one in weights.items() if key.startswith(prefix)}


def _trained(folder: Path, part: str) -> Path:
    """Return the file of a part's weights.

    Raises:
        SystemExit: it has not been trained yet.
    """
    path = folder / f"{part}.safetensors"
    if not path.exists():
        raise SystemExit(f"{path} does not exist: train the part {part} first.")
    return path


def balanced_weight(alphas: Tensor, timestep: Tensor) -> Tensor:
    """Return the weight of each sample's loss, min(SNR, γ) / SNR · min(1 + 1 / SNR, NOISY), (batch,).

    The second factor makes an ε-loss v-prediction's (Salimans and Ho, arXiv 2202.00512, appendix D). Without it the
    timesteps that decide what is where and in which colours count next to nothing, and garments' colours never arrive.
    """
    alpha = alphas[timestep]
    return min_snr_weight(alphas, timestep, GAMMA) * (1 / alpha).clamp(max=NOISY)


def rates(model: nn.Module) -> list[dict[str, Any]]:
    """Return a model's trained weights in groups, each with its ``share`` of the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, one in model.named_parameters():
        if one.requires_grad:
            share = next((share for prefix, share in RATES.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(share, []).append(one)
    return [{"params": weights, "share": share} for share, weights in groups.items()]


def decoder(folder: Path, device: torch.device) -> Part:
    """The VAE's decoder: the drawn image from its latents."""
    vae = narrow_decoder()
    del vae.encoder, vae.quant_conv

    def loss(numbers: range, width: int) -> Tensor:
        pixels = data.pixels(world.image(data.drawn(number), width) for number in numbers)
        latent = data.encode(pixels)
        latent = (latent + 0.05 * torch.randn_like(latent)).to(device)  # a sampled latent is never quite a drawn one
        error = vae.decoder(vae.post_quant_conv(latent)) - pixels.to(device)
        return error.abs().mean() + 0.5 * edges(error)

    return vae, loss


def edges(error: Tensor) -> Tensor:
    """Return the mean difference of neighbouring pixels' errors: edges count more than their few pixels."""
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


PARTS: Mapping[str, Callable[[Path, torch.device], Part]] = {
    "base": base,
    "together": together,
    "garment": garment,
    "decoder": decoder,
    "pose": pose,
    "inpaint": inpaint,
}
