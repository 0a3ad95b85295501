"""The memory that a run needs, computed from the models' configurations before anything is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import IMAGDressingError
from ..on_diffusers.single_file import CONFIGS
from ..on_diffusers.unet import garment_model, install_hybrid_attention
from .config import TrainingConfig
from .hub import weights_of
from .model import Frozen, TrainingBatch, choose_parts, freeze_unread, latent_shape, training_loss
from .objective import RandomDraws, noise_schedule
from .setup import DTYPES

BYTES_OF_ADAM = {False: 8, True: 2}  # by optimiser.eight_bit


@dataclass(frozen=True)
class Requirements:
    """The memory of one process on its device, in bytes by what needs it, and the size of a state on the disk.

    ``trained`` is the number of trained parameters.
    """

    trained: int
    nbytes: dict[str, int]
    state: int


def requirements(config: TrainingConfig) -> Requirements:
    """Compute the memory of a run.

    Activations are what one batch keeps for the backward pass, counted tensor by tensor on shapes alone, with attention
    as PyTorch's fused kernels compute it. The real peak is higher by what kernels use while they run.

    Raises:
        IMAGDressingError: A model's configuration is missing.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    run, optimiser = config.run, config.optimiser
    frozen, trained = _empty_models(config)
    with FakeTensorMode(allow_non_fake_inputs=True):  # kernels are chosen as for the CPU
        for model in (frozen.unet, trained):
            model.to_empty(device="cpu")
        kept = _activations(config, frozen, trained)
    weights = sum(one.numel() for one in trained.parameters())
    learnt = sum(one.numel() for one in trained.parameters() if one.requires_grad)
    loaded = [one for name, one in vars(frozen).items() if name != "image_encoder" or config.data.cache is None]
    adam = BYTES_OF_ADAM[optimiser.eight_bit] * learnt
    averaged = 4 * weights if run.ema_decay else 0
    nbytes = {
        "frozen models": sum(one.nbytes for model in loaded if model is not None for one in model.parameters()),
        "trained parts": 4 * weights,
        "gradients": 4 * learnt,
        "AdamW": adam,
        "averaged weights": 0 if run.ema_offload else averaged,  # updated where gradients and activations were
        f"activations of {run.batch} samples": kept,
    }
    return Requirements(learnt, nbytes, 4 * weights + adam + averaged)


def estimate(config: TrainingConfig) -> list[str]:
    """Return :func:`requirements` as lines to read."""
    found = requirements(config)
    return [
        f"{found.trained / 1e6:,.1f} million parameters are trained. Memory of each process, estimated:",
        *(f"  {name}: {nbytes / 1e9:.2f} GB" for name, nbytes in found.nbytes.items()),
        f"  together about {sum(found.nbytes.values()) / 1e9:.1f} GB",
        f"A state takes about {found.state / 1e9:.2f} GB on the disk, and run.keep = {config.run.keep} of them stay.",
    ]


def _empty_models(config: TrainingConfig) -> tuple[Frozen, Any]:
    """Return the models of a run, as ``load_models`` returns them, on the meta device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    weights, meta = weights_of(config.models), torch.device("meta")
    with meta:
        frozen = Frozen(
            unet=_empty(UNet2DConditionModel, weights["unet"]),
            vae=_empty(AutoencoderKL, weights["vae"]),
            text_encoder=_empty(CLIPTextModel, weights["text_encoder"]),
            tokenizer=None,
            image_encoder=_empty(CLIPVisionModelWithProjection, weights["image_encoder"]),
        )
        garment_unet = _empty(UNet2DConditionModel, weights["unet"])
        trained = garment_model(garment_unet, frozen.image_encoder.config.hidden_size)
        freeze_unread(trained)
        choose_parts(trained, config.optimiser)
    frozen.unet.requires_grad_(False)
    frozen.to(meta, DTYPES[config.run.precision])
    install_hybrid_attention(frozen.unet)
    return frozen, trained


def _activations(config: TrainingConfig, frozen: Frozen, trained: Any) -> int:
    """Return the bytes that a batch's forward pass keeps for the backward pass, weights left out."""
    run = config.run
    if run.gradient_checkpointing:
        for unet in (frozen.unet, trained.ref_unet):
            unet.train()
            unet.enable_gradient_checkpointing()
    latent = run.batch, *latent_shape(frozen.vae, config.data)
    clip, encoder = frozen.text_encoder.config, frozen.image_encoder.config
    tokens = (encoder.image_size // encoder.patch_size) ** 2 + 1
    ones = torch.ones(latent)
    batch = TrainingBatch(
        person=torch.ones(latent[0], 2 * latent[1], *latent[2:]),
        garment=torch.ones(latent[0], 2 * latent[1], *latent[2:]),
        garment_kept=torch.ones(run.batch, 1, 1, 1),
        clip_hidden=torch.ones(run.batch, tokens, encoder.hidden_size),
        text=torch.ones(run.batch, clip.max_position_embeddings, clip.hidden_size, dtype=frozen.unet.dtype),
        draws=RandomDraws(torch.zeros(run.batch, dtype=torch.long), ones, torch.ones(*latent[:2], 1, 1), ones, ones),
        scaling=frozen.vae.config.scaling_factor,
    )
    weights = {_storage(one) for model in (frozen.unet, trained) for one in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor
        return tensor

    half = torch.autocast("cpu", DTYPES[run.precision], enabled=run.precision != "no")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), half:
        alphas = noise_schedule(config.objective.zero_terminal_snr).alphas_cumprod
        training_loss(frozen.unet, trained, batch, config.objective, alphas)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _storage(tensor: Tensor) -> int:
    """Return what tells the memory of one tensor from another's; tensors of shapes alone have no address."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def _empty(kind: Any, path: Path) -> Any:
    config = CONFIGS.get(kind.__name__, {}) if path.is_file() else _config_of(path)
    return kind.from_config(config) if hasattr(kind, "from_config") else kind(kind.config_class.from_dict(config))


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IMAGDressingError(f"{folder} holds no model in diffusers' or transformers' format: {error}") from error
