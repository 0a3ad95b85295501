"""The models of a training run: the frozen ones, the trained ones with their initial weights, and one step's loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import IMAGDressingError, packages
from ..files.weights import open_weights
from ..model.layers import LAST_TO_RUN, LAYERS
from ..model.qformer import QFormer
from ..on_diffusers.loading import FROZEN_PARTS, load_frozen, load_model, load_trained, load_weights, part_of
from ..on_diffusers.pipeline import clip_hidden_states, text_embeddings
from ..on_diffusers.unet import GarmentInputs, GarmentModel, garment_model, noise_prediction
from .config import Data, Models, Objective, Optimiser
from .hub import local
from .objective import RandomDraws, add_noise, ldm_loss, min_snr_weight, offset_noise, sample_latent


@dataclass(frozen=True)
class Frozen:
    """The models that are not trained. ``image_encoder`` is None when a cache replaces it."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    image_encoder: Any = None

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        for model in (self.unet, self.vae, self.text_encoder, self.image_encoder):
            if model is not None:
                nn.Module.to(model, device, dtype)  # diffusers' own warns of an empty list of modules


@dataclass(frozen=True)
class TrainingBatch:
    """The encoded samples of one step.

    Attributes:
        person: The VAE's moments, (batch, 8, h, w).
        garment: The same of the garment, (batch, 8, h, w).
        garment_kept: (batch, 1, 1, 1); 0 where the garment's latent is dropped, else 1.
        clip_hidden: CLIP's penultimate hidden states of the garment, (batch, 257, 1280).
        text: C_t, (batch, 77, 768).
        draws: The samples' random numbers.
        scaling: The VAE's scaling factor.
    """

    person: Tensor
    garment: Tensor
    garment_kept: Tensor
    clip_hidden: Tensor
    text: Tensor
    draws: RandomDraws
    scaling: float


def training_loss(
    unet: Any, garment: nn.Module, batch: TrainingBatch, objective: Objective, alphas_cumprod: Tensor
) -> Tensor:
    """Return the paper's Eq. 6 for a batch, ‖ε_θ(z_t, C_t, C_g, t) − ε‖² with λ = 1, as a scalar.

    Args:
        unet: The frozen denoising U-Net.
        garment: The trained parts, a ``GarmentModel``, wrapped for several processes or not.
        batch: Encoded samples.
        objective: The optional changes to the loss.
        alphas_cumprod: ᾱ of the noise schedule, (1000,).
    """
    draws = batch.draws
    noise = offset_noise(draws.noise, draws.offset, objective.noise_offset)
    z_t = add_noise(sample_latent(batch.person, draws.person, batch.scaling), noise, alphas_cumprod, draws.timestep)
    garment_latent = sample_latent(batch.garment, draws.garment, batch.scaling) * batch.garment_kept
    layers = garment(garment_latent, batch.clip_hidden)
    prediction = noise_prediction(unet, z_t, draws.timestep, batch.text, GarmentInputs(layers))
    gamma = objective.min_snr_gamma
    weight = None if gamma is None else min_snr_weight(alphas_cumprod, draws.timestep, gamma)
    return ldm_loss(prediction, noise, weight)


@torch.no_grad()
def encoded(samples: Mapping[str, Any], frozen: Frozen) -> TrainingBatch:
    """Bring collated samples of ``SampleMaker`` to the device and encode them, if no cache has done it already."""
    from accelerate.utils import send_to_device

    device = frozen.unet.device
    # Other devices than CUDA may read a copy that does not block before it is complete.
    samples = send_to_device(samples, device, non_blocking=device.type == "cuda")
    person, garment, clip = (samples[name] for name in ("person", "garment", "clip"))
    if frozen.image_encoder is not None:
        person, garment = (vae_moments(frozen.vae, one) for one in (person, garment))
        clip = clip_hidden(frozen.image_encoder, clip)
    return TrainingBatch(
        person=person,
        garment=garment,
        garment_kept=samples["garment_kept"],
        clip_hidden=clip,
        text=text_embeddings(frozen.text_encoder, frozen.tokenizer, samples["caption"], device),
        draws=samples["draws"],
        scaling=frozen.vae.config.scaling_factor,
    )


@torch.no_grad()
def vae_moments(vae: Any, pixels: Tensor) -> Tensor:
    """Return mean and log-variance of images, (batch, 8, h, w), as the VAE returns them."""
    return vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.parameters.float()


@torch.no_grad()
def clip_hidden(image_encoder: Any, pixels: Tensor) -> Tensor:
    """Return CLIP's penultimate hidden states, (batch, 257, 1280)."""
    return clip_hidden_states(image_encoder, pixels.to(image_encoder.device, image_encoder.dtype)).float()


def latent_shape(vae: Any, data: Data) -> tuple[int, int, int]:
    """Return the shape of a latent, (channels, height, width).

    Raises:
        IMAGDressingError: The VAE cannot encode images of ``data``'s size.
    """
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    if data.width % factor or data.height % factor:
        raise IMAGDressingError(f"{data.width} × {data.height} cannot be trained on: take multiples of {factor}.")
    return vae.config.latent_channels, data.height // factor, data.width // factor


def load_models(models: Models, clip_width: int | None = None) -> tuple[Frozen, GarmentModel]:
    """Load the frozen models, and the trained parts with their initial weights.

    Args:
        models: Where they are.
        clip_width: The width of CLIP's hidden states in a cache, which takes the image encoder's place.

    Raises:
        IMAGDressingError: a folder or file is missing or of another architecture.
    """
    from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

    models = local(models)
    parts = [part for part in FROZEN_PARTS if part != "image_encoder" or clip_width is None]
    found = load_frozen(models.base, models.image_encoder, models.vae, models.tokenizer, parts)
    width = found["image_encoder"].config.hidden_size if clip_width is None else clip_width
    trained = garment_model(load_model(UNet2DConditionModel, part_of(models.base, "unet")), width)
    if models.start_from is not None:
        load_trained(trained, models.start_from)
    else:
        start_projections(trained, found["unet"])
        start_qformer(trained.proj, models.ip_adapter)
    freeze_unread(trained)
    return Frozen(**found), trained


def start_projections(trained: GarmentModel, unet: nn.Module) -> None:
    """Initialise W'_k and W'_v with the frozen layers' W_k and W_v, as the official script does."""
    weights = {
        f"{layer.index}.to_{kind}_ref.weight": unet.get_parameter(f"{layer.diffusers_name}.attn1.to_{kind}.weight")
        for layer in LAYERS
        for kind in ("k", "v")
    }
    trained.adapter_modules.load_state_dict(weights)


def start_qformer(qformer: QFormer, ip_adapter: Path | None) -> None:
    """Initialise the Q-Former with IP-Adapter-Plus' image projection, as the official script does, or at random.

    Raises:
        IMAGDressingError: the file is not IP-Adapter-Plus for SD1.5.
    """
    if ip_adapter is None:
        nn.init.normal_(qformer.latents, std=qformer.latents.shape[-1] ** -0.5)
        return
    _, found = open_weights(ip_adapter)
    prefix = "image_proj."
    load_weights(
        qformer, {key.removeprefix(prefix): one for key, one in found.items() if key.startswith(prefix)}, ip_adapter
    )


PARTS = {"garment_unet": "ref_unet", "qformer": "proj", "projections": "adapter_modules"}
LORA_LAYERS = (".to_q", ".to_k", ".to_v", ".to_out.0")


def choose_parts(trained: GarmentModel, optimiser: Optimiser) -> None:
    """Freeze all parts that are not chosen, and give the garment U-Net its LoRA where one is asked for.

    Raises:
        IMAGDressingError: A LoRA is asked for without peft.
    """
    for name, attribute in PARTS.items():
        if name not in optimiser.parts:
            trained.get_submodule(attribute).requires_grad_(False)
    if optimiser.lora_rank is not None:
        add_lora(trained.ref_unet, optimiser.lora_rank)


def add_lora(unet: nn.Module, rank: int) -> None:
    """Freeze a U-Net but for low-rank updates of its attentions, W + B·A. B starts as zeros.

    Raises:
        IMAGDressingError: peft is not installed.
    """
    with packages("A LoRA", "training-lora"):
        from peft import LoraConfig, inject_adapter_in_model
    read = {name.removesuffix(".weight") for name, one in unet.named_parameters() if one.requires_grad}
    layers = sorted(name for name in read if name.endswith(LORA_LAYERS))
    lora = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)  # alpha / r, which scales the update, is 1
    inject_adapter_in_model(lora, unet)


def merge_lora(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a model as if it never had had a LoRA: W + B·A under the name of W."""
    merged = {name.replace(".base_layer.", "."): one for name, one in weights.items() if ".lora_" not in name}
    for name, a in weights.items():
        if ".lora_A." in name:
            layer, _, _ = name.partition(".lora_A.")
            b = weights[name.replace(".lora_A.", ".lora_B.")]
            merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + b @ a
    return merged


def freeze_unread(trained: GarmentModel) -> None:
    """Freeze the layers of the garment U-Net after the last feature: the result does not depend on them."""
    block = LAST_TO_RUN.diffusers_name
    attention = block.removesuffix(".transformer_blocks.0")
    unread = ("conv_norm_out.", "conv_out.", f"{attention}.proj_out.", f"{block}.")
    for name, parameter in trained.ref_unet.named_parameters():
        parameter.requires_grad_(not name.startswith(unread) or name.startswith(f"{block}.norm1."))
