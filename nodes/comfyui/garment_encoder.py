"""The garment U-Net as a ComfyUI model: loaded, run once per garment, offloaded by ComfyUI like any other."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...imagdressing_core.files.checkpoint import Checkpoint, Progress, Weights
from ...imagdressing_core.model.garment import PIXELS_PER_LATENT, GarmentImage, Origin, Parts, images_of_batch
from ...imagdressing_core.model.hybrid_attention import GarmentProjections
from ...imagdressing_core.model.layers import LAST_TO_RUN, LAYERS
from ...imagdressing_core.model.qformer import QFormer


@dataclass(frozen=True)
class GarmentEncoder:
    """What travels through an IMAGDRESSING_MODEL socket: two models in ComfyUI's care, and where they came from.

    adapter: Q-Former and garment projections, as far as the checkpoint has them.
    """

    garment_unet: ModelPatcher
    adapter: ModelPatcher
    checkpoint: str
    fingerprint: str

    @property
    def is_magic_clothing(self) -> bool:
        return self.adapter.model.qformer is None

    def encode(
        self, latent: Tensor, context: Tensor, fit: str = "official", progress: Progress | None = None
    ) -> tuple[GarmentImage, ...]:
        """Encode a batch of garments: one pass of the garment U-Net at t = 0, projected to K' and V' there and then.

        latent: the garments' VAE latents, (batch, 4, height / 8, width / 8), as the VAE gives them, unscaled.
        context: CLIP ViT-H's penultimate hidden states, (batch, 257, 1280), which the Q-Former makes tokens of; for
            MagicClothing the empty prompt's conditioning, (batch, 77, 768).
        fit: how the images were brought to size.
        progress: told the number of layers read, and of all.
        """
        unet = self.garment_unet.model
        comfy.model_management.load_models_gpu(
            [self.garment_unet, self.adapter], memory_required=unet.memory_required(list(latent.shape))
        )
        device, dtype = self.garment_unet.load_device, unet.get_dtype_inference()
        tokens = self.adapter.model.tokens(context.to(device, dtype))
        features = garment_features(unet, unet.process_latent_in(latent).to(device, dtype), tokens, progress)
        stored = comfy.model_management.intermediate_device()
        parts = {
            name: {index: tensor.to(stored) for index, tensor in part.items()}
            for name, part in self.adapter.model.parts(features).items()
        }
        height, width = (PIXELS_PER_LATENT * side for side in latent.shape[-2:])
        return images_of_batch(parts, Origin(self.checkpoint, self.fingerprint, fit, width, height))


class Adapter(nn.Module):
    """Q-Former and garment projections, where there are any, of layers that ComfyUI can cast and offload."""

    def __init__(self, has_qformer: bool, has_projections: bool, operations: Any) -> None:
        super().__init__()
        self.qformer = QFormer(operations=operations) if has_qformer else None
        self.projections = GarmentProjections(operations=operations) if has_projections else None

    def tokens(self, context: Tensor) -> Tensor:
        """Return what the garment U-Net attends to, (batch, tokens, 768)."""
        return context if self.qformer is None else self.qformer(context)

    def parts(self, features: dict[int, Tensor]) -> Parts:
        """Return what is kept of the garment: K' and V', or the features C_g themselves."""
        if self.projections is None:
            return {"c": features}
        keys, values = self.projections(features)
        return {"k": keys, "v": values}


def load_garment_encoder(checkpoint: Checkpoint) -> GarmentEncoder:
    garment_unet = _load_garment_unet(checkpoint.garment_unet, checkpoint.dtype)
    adapter = _load_adapter(checkpoint, garment_unet)
    return GarmentEncoder(garment_unet, adapter, checkpoint.path.name, checkpoint.fingerprint)


def garment_features(unet: Any, latent: Tensor, tokens: Tensor, progress: Progress | None = None) -> dict[int, Tensor]:
    """Return C_g: the normalised input of each self-attention layer, {layer index: (batch, tokens, C)}.

    unet: the garment U-Net, on its device; latent: scaled, (batch, 4, h, w); tokens: (batch, 16, 768), its context.
    The pass runs at t = 0 and ends with the last layer that is needed.
    """
    layers = {layer.block: layer for layer in LAYERS}
    features: dict[int, Tensor] = {}

    def capture(n: Tensor, context: Tensor, value: Tensor, extra_options: dict[str, Any]):
        layer = layers[extra_options["block"]]
        features[layer.index] = n
        if progress is not None:
            progress(len(features), len(LAYERS))
        if layer is LAST_TO_RUN:
            raise _AllCaptured
        return n, context, value

    with suppress(_AllCaptured):
        unet.diffusion_model(
            latent,
            timesteps=torch.zeros(len(latent), device=latent.device),
            context=tokens,
            transformer_options={"patches": {"attn1_patch": [capture]}},
        )
    return features


class _AllCaptured(Exception):
    """Ends the garment U-Net's pass early: nothing after this layer's input is ever read."""


def _load_garment_unet(weights: Weights, dtype: torch.dtype) -> Any:
    # Given ComfyUI's own names, ComfyUI has nothing to convert and nothing to warn about.
    config: Any = comfy.model_detection.model_config_from_diffusers_unet(weights)
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    return comfy.sd.load_diffusion_model_state_dict(
        {names[key]: tensor for key, tensor in weights.items()}, _precision(dtype)
    )


def _precision(stored: torch.dtype) -> dict[str, Any]:
    """Return ComfyUI's option for weights ``stored`` in this precision: its own choice, but nothing made larger.

    On the CPU it would turn all of fp16 into float32 at once, for twice the memory. Kept as they are, the weights are
    cast layer by layer as they run, once per garment and to the same values.
    """
    device = comfy.model_management.get_torch_device()
    widens = comfy.model_management.is_device_cpu(device) and comfy.model_management.unet_dtype(device) == torch.float32
    return {"dtype": stored} if widens else {}


def _load_adapter(checkpoint: Checkpoint, garment_unet: ModelPatcher) -> ModelPatcher:
    adapter = Adapter(bool(checkpoint.qformer), bool(checkpoint.projections), comfy.ops.manual_cast)
    adapter = adapter.to(checkpoint.dtype).eval().requires_grad_(False)
    for module, weights in ((adapter.qformer, checkpoint.qformer), (adapter.projections, checkpoint.projections)):
        if module is not None:
            module.load_state_dict(weights)
    return comfy.model_patcher.CoreModelPatcher(adapter, garment_unet.load_device, garment_unet.offload_device)
