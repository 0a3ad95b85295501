"""What each part of the demo's model is trained on: the model where it starts, and the loss of one batch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from imagdressing_core.model.hybrid_attention import GarmentProjections
from imagdressing_core.on_diffusers.unet import GarmentModel, install_hybrid_attention, layer_channels
from imagdressing_core.training.config import Objective
from imagdressing_core.training.model import TrainingBatch, freeze_unread, start_projections, training_loss
from imagdressing_core.training.objective import RandomDraws, add_noise, ldm_loss, min_snr_weight, noise_schedule

from . import data, drawing, world
from .narrow import ConstantContext, narrow_controlnet, narrow_decoder, narrow_garment_unet, narrow_unet

GAMMA = 5.0  # of min-SNR: nearly clean images teach the base little
SHIRTS = 0.65  # of the garments; trousers are the others
BOXES = 0.3  # of the masks
WORD_DROPOUT, CAPTION_DROPOUT = 0.25, 0.1

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
        return ldm_loss(prediction, noise, min_snr_weight(alphas, timestep, GAMMA))

    return unet, loss


def garment(folder: Path, device: torch.device) -> Part:
    """Garment U-Net and projections by the paper's loss: people and one of the garments that they wear."""
    unet = frozen_base(folder, device)
    install_hybrid_attention(unet)
    alphas = noise_schedule().alphas_cumprod.to(device)
    trained = garment_model(unet)
    start_projections(trained, unet)
    freeze_unread(trained)
    objective = Objective(noise_offset=0.0, min_snr_gamma=GAMMA)

    def loss(numbers: range, width: int) -> Tensor:
        people = [data.drawn(number) for number in numbers]
        chosen = [one.shirt if torch.rand(()) < SHIRTS else one.trousers for one in people]
        person = data.latents(world.image(one, width) for one in people).to(device)
        cloth = data.latents(drawing.garment_image(one, width) for one in chosen).to(device)
        batch = TrainingBatch(
            person=moments(person),
            garment=moments(cloth),
            garment_kept=torch.ones(len(people), 1, 1, 1, device=device),
            clip_hidden=torch.zeros(len(people), 1, 1, device=device),  # ConstantContext does not look at it
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
    unet, alphas = frozen_base(folder, device), noise_schedule().alphas_cumprod.to(device)
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
        return ldm_loss(prediction, noise, min_snr_weight(alphas, timestep, GAMMA))

    return controlnet, loss


def some_mask(person: world.Person, width: int) -> Tensor:
    """Return what is to be painted anew, (height, width): the person's shirt or trousers and around them, or a box."""
    if torch.rand(()) < BOXES:
        height = round(width * drawing.ASPECT)
        (top, left), (bottom, right) = (torch.rand(2, 2) * torch.tensor([height / 2, width / 2])).int().tolist()
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[top : height - bottom, left : width - right] = True
        return mask
    kind = drawing.KINDS[int(torch.rand(()) < 0.5)]
    drawn = torch.from_numpy(numpy.array(world.mask(person, kind, width))).float()[None, None]
    grown = 2 * int(torch.randint(width // 16, (1,))) + 1  # as a user covers more than the old garment
    return max_pool2d(drawn, grown, stride=1, padding=grown // 2)[0, 0] > 0


def garment_model(unet: nn.Module) -> GarmentModel:
    """Return the trained parts where they start: the garment U-Net as a copy of the denoising U-Net."""
    garment_unet = narrow_garment_unet()
    garment_unet.load_state_dict(unet.state_dict())
    projections = GarmentProjections(channels=layer_channels(garment_unet))
    return GarmentModel(garment_unet, ConstantContext(), projections)  # pyright: ignore[reportArgumentType]


def frozen_base(folder: Path, device: torch.device) -> Any:
    """Return the trained denoising U-Net.

    Raises:
        SystemExit: it has not been trained yet.
    """
    path = folder / "base.safetensors"
    if not path.exists():
        raise SystemExit(f"{path} does not exist: train the part base first.")
    unet = narrow_unet()
    unet.load_state_dict(load_file(path))
    return unet.requires_grad_(False).to(device, memory_format=torch.channels_last)


def moments(latent: Tensor) -> Tensor:
    """Return a latent as a VAE's mean and log-variance, the spread as good as none."""
    return torch.cat((latent, torch.full_like(latent, -30.0)), dim=1)


def draws(latent: Tensor) -> RandomDraws:
    nothing = torch.zeros_like(latent)
    return RandomDraws(
        timestep=timesteps(len(latent)).to(latent.device),
        noise=torch.randn_like(latent),
        offset=nothing,
        person=nothing,
        garment=nothing,
    )


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


def some_words(words: Tensor) -> Tensor:
    """Return prompts that leave out words, or all of them, (batch, words) with −1 for none."""
    kept = torch.rand(words.shape) >= WORD_DROPOUT
    kept &= torch.rand(len(words), 1) >= CAPTION_DROPOUT
    return torch.where(kept, words, torch.full_like(words, -1))


def timesteps(batch: int) -> Tensor:
    """Return timesteps spread evenly over a batch, so that no batch has easy ones alone."""
    return ((torch.rand(batch) + torch.randperm(batch)) * (1000 / batch)).long().clamp(max=999)


PARTS: Mapping[str, Callable[[Path, torch.device], Part]] = {
    "base": base,
    "garment": garment,
    "decoder": decoder,
    "pose": pose,
    "inpaint": inpaint,
}
