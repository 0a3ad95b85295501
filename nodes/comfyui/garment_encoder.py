"""The garment U-Net as a ComfyUI model: loaded, run once per garment, offloaded by ComfyUI like any other."""

from collections.abc import Callable
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

from ...imagdressing_core.files.checkpoint import Checkpoint, Weights
from ...imagdressing_core.images.preprocess import IMAGDRESSING, Preprocessing
from ...imagdressing_core.model import magic_clothing
from ...imagdressing_core.model.garment import PIXELS_PER_LATENT, GarmentImage, GarmentLayer, Origin, images_of_batch
from ...imagdressing_core.model.garment_unet import Kept, Note, Progress, no_noise, read_garment
from ...imagdressing_core.model.hybrid_attention import GarmentProjections
from ...imagdressing_core.model.layers import LAYERS
from ...imagdressing_core.model.magic_clothing import LayerFeatures
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
    def preprocessing(self) -> Preprocessing:
        """How its method prepares a garment image."""
        return magic_clothing.PREPROCESSING if self.adapter.model.qformer is None else IMAGDRESSING

    # The names by which ComfyUI's caches and memory management look for models inside other objects, CLIP and VAE.

    @property
    def patcher(self) -> ModelPatcher:
        return self.garment_unet

    def get_models(self) -> list[ModelPatcher]:
        return [self.garment_unet, self.adapter]

    def is_dynamic(self) -> bool:
        return self.garment_unet.is_dynamic()

    def encode(
        self, latents: Tensor, contexts: Tensor, fit: str = "official", progress: Progress | None = None
    ) -> tuple[GarmentImage, ...]:
        """Encode garments, each in one pass of the garment U-Net at t = 0, projected to K' and V' there and then.

        One after the other, and each layer moved off the device at once, so that many need no more memory than one.

        Args:
            latents: the garments' VAE latents, (batch, 4, height / 8, width / 8), as the VAE gives them, unscaled.
            contexts: CLIP ViT-H's penultimate hidden states, (batch, 257, 1280), which the Q-Former makes tokens of;
                for MagicClothing the empty prompt's conditioning, (batch, 77, 768).
            fit: how the images were brought to size.
            progress: told the number of layers read, and of all.
        """
        comfy.model_management.load_models_gpu(
            self.get_models(), memory_required=self.garment_unet.memory_required([1, *latents.shape[1:]])
        )
        height, width = (PIXELS_PER_LATENT * side for side in latents.shape[-2:])
        origin = Origin(self.checkpoint, self.fingerprint, fit, width, height)
        images: list[GarmentImage] = []
        for i, (latent, context) in enumerate(zip(latents.split(1), contexts.split(1), strict=True)):
            read = _counted(progress, i, len(latents))
            images += images_of_batch(self._layers(latent, context, read), origin)
        return tuple(images)

    def _layers(self, latent: Tensor, context: Tensor, progress: Progress | None) -> dict[int, GarmentLayer]:
        unet, adapter = self.garment_unet.model, self.adapter.model
        device, dtype = self.garment_unet.load_device, unet.get_dtype_inference()
        stored = comfy.model_management.intermediate_device()
        return garment_features(
            unet,
            unet.process_latent_in(latent).to(device, dtype),
            adapter.tokens(context.to(device, dtype)),
            lambda index, c_g: adapter.layer(index, c_g).map(lambda tensor: tensor.to(stored)),
            progress,
        )


class Adapter(nn.Module):
    """Q-Former and garment projections, where there are any, of layers that ComfyUI can cast and offload."""

    def __init__(self, has_qformer: bool, has_projections: bool, operations: Any) -> None:
        super().__init__()
        self.qformer = QFormer(operations=operations) if has_qformer else None
        self.projections = GarmentProjections(operations=operations) if has_projections else None

    def tokens(self, context: Tensor) -> Tensor:
        """Return what the garment U-Net attends to, (batch, tokens, 768)."""
        return context if self.qformer is None else self.qformer(context)

    def layer(self, index: int, c_g: Tensor) -> GarmentLayer:
        """Return what a layer keeps of the garment: K' and V', or the features C_g themselves."""
        return LayerFeatures(c_g) if self.projections is None else self.projections.project(index, c_g)


def load_garment_encoder(checkpoint: Checkpoint) -> GarmentEncoder:
    garment_unet = _load_garment_unet(checkpoint.garment_unet, checkpoint.dtype)
    adapter = _load_adapter(checkpoint, garment_unet)
    return GarmentEncoder(garment_unet, adapter, checkpoint.path.name, checkpoint.fingerprint)


def garment_features(
    unet: Any, latent: Tensor, tokens: Tensor, keep: Callable[[int, Tensor], Kept], progress: Progress | None = None
) -> dict[int, Kept]:
    """Return what ``keep`` makes of C_g, the normalised input of each self-attention layer, by layer index.

    Args:
        unet: the garment U-Net, on its device.
        latent: scaled, (batch, 4, h, w).
        tokens: its context, (batch, 16, 768).
        keep, progress: as in :func:`.garment_unet.read_garment`.
    """
    indices = {layer.block: layer.index for layer in LAYERS}

    def run(note: Note) -> None:
        def capture(n: Tensor, context: Tensor, value: Tensor, extra_options: dict[str, Any]):
            note(indices[extra_options["block"]], n)
            return n, context, value

        options = {"patches": {"attn1_patch": [capture]}}
        unet.diffusion_model(latent, timesteps=no_noise(latent), context=tokens, transformer_options=options)

    return read_garment(run, keep, progress)


def _counted(progress: Progress | None, image: int, images: int) -> Progress | None:
    """Return ``progress`` as one image of several moves it."""
    return None if progress is None else lambda done, total: progress(image * total + done, images * total)


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
