"""The garment U-Net as a ComfyUI model: loaded, run once per garment, offloaded by the host like any other."""

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

from ...imagdressing_core.checkpoint import Checkpoint, Weights
from ...imagdressing_core.garment import PIXELS_PER_LATENT, GarmentPicture, Origin, pictures_from_projections
from ...imagdressing_core.hybrid_attention import GarmentProjections
from ...imagdressing_core.layers import LAST_TO_RUN, LAYERS
from ...imagdressing_core.qformer import QFormer


@dataclass(frozen=True)
class GarmentEncoder:
    """What travels through an IMAGDRESSING_MODEL socket: two models in the host's care, and where they came from."""

    garment_unet: ModelPatcher
    adapter: ModelPatcher
    checkpoint: str
    fingerprint: str

    def encode(self, latent: Tensor, clip_hidden: Tensor, fit: str = "official") -> tuple[GarmentPicture, ...]:
        """Encode a batch of garments: one pass of the garment U-Net at t = 0, projected to K' and V' there and then.

        latent: the garments' VAE latents, (batch, 4, height / 8, width / 8), as the VAE gives them, unscaled.
        clip_hidden: CLIP ViT-H's penultimate hidden states, (batch, 257, 1280).
        fit: how the pictures were brought to size.
        """
        unet = self.garment_unet.model
        comfy.model_management.load_models_gpu(
            [self.garment_unet, self.adapter], memory_required=unet.memory_required(list(latent.shape))
        )
        device, dtype = self.garment_unet.load_device, unet.get_dtype_inference()
        tokens = self.adapter.model.qformer(clip_hidden.to(device, dtype))
        features = garment_features(unet, unet.process_latent_in(latent).to(device, dtype), tokens)
        keys, values = self.adapter.model.projections(features)
        stored = comfy.model_management.intermediate_device()
        height, width = (PIXELS_PER_LATENT * side for side in latent.shape[-2:])
        return pictures_from_projections(
            {index: k.to(stored) for index, k in keys.items()},
            {index: v.to(stored) for index, v in values.items()},
            Origin(self.checkpoint, self.fingerprint, fit, width, height),
        )


class Adapter(nn.Module):
    """Q-Former and garment projections, with the host's layers so that it can cast and offload them."""

    def __init__(self, operations: Any) -> None:
        super().__init__()
        self.qformer = QFormer(operations=operations)
        self.projections = GarmentProjections(operations=operations)


def load_garment_encoder(checkpoint: Checkpoint) -> GarmentEncoder:
    garment_unet = _load_garment_unet(checkpoint.garment_unet)
    adapter = _load_adapter(checkpoint, garment_unet)
    return GarmentEncoder(garment_unet, adapter, checkpoint.path.name, checkpoint.fingerprint)


def garment_features(unet: Any, latent: Tensor, tokens: Tensor) -> dict[int, Tensor]:
    """Return C_g: the normalised input of each self-attention layer, {layer index: (batch, tokens, C)}.

    unet: the garment U-Net, on its device; latent: scaled, (batch, 4, h, w); tokens: (batch, 16, 768), its context.
    The pass runs at t = 0 and ends with the last layer that is needed.
    """
    layers = {layer.block: layer for layer in LAYERS}
    features: dict[int, Tensor] = {}

    def capture(n: Tensor, context: Tensor, value: Tensor, extra_options: dict[str, Any]):
        layer = layers[extra_options["block"]]
        features[layer.index] = n
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


def _load_garment_unet(weights: Weights) -> Any:
    # Given ComfyUI's own names, the host has nothing to convert and nothing to warn about.
    config: Any = comfy.model_detection.model_config_from_diffusers_unet(weights)
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    return comfy.sd.load_diffusion_model_state_dict({names[key]: tensor for key, tensor in weights.items()})


def _load_adapter(checkpoint: Checkpoint, garment_unet: ModelPatcher) -> ModelPatcher:
    adapter = Adapter(comfy.ops.manual_cast).to(checkpoint.dtype).eval().requires_grad_(False)
    adapter.qformer.load_state_dict(checkpoint.qformer)
    adapter.projections.load_state_dict(checkpoint.projections)
    return comfy.model_patcher.CoreModelPatcher(adapter, garment_unet.load_device, garment_unet.offload_device)
