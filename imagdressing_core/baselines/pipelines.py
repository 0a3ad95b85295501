"""IP-Adapter, BLIP-Diffusion and Versatile Diffusion, made by diffusers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import IMAGDressingError
from ..metrics.needs import packages, published
from ..metrics.pictures import read_picture
from ..on_diffusers.pipeline import official_scheduler
from .recipe import GUIDANCE, HEIGHT, NEGATIVE, STEPS, WIDTH, Order

BASE, VAE = "SG161222/Realistic_Vision_V4.0_noVAE", "stabilityai/sd-vae-ft-mse"  # as in the official scripts
IP_ADAPTER, IP_ADAPTER_FILE = "h94/IP-Adapter", "ip-adapter-plus_sd15.safetensors"
IP_ADAPTER_SOURCE = f"huggingface.co/{IP_ADAPTER} (models/{IP_ADAPTER_FILE} and models/image_encoder)"
IP_ADAPTER_SCALE = 0.5  # IP-Adapter's README for pictures with a prompt
BLIP_DIFFUSION = "Salesforce/blipdiffusion"
BLIP_DIFFUSION_VERSIONS = {"diffusers": "0.33.1", "transformers": "4.51.3"}
VERSATILE_DIFFUSION = "shi-labs/versatile-diffusion"
TEXT_TO_IMAGE = 0.75  # of diffusers' own example for this pipeline

SIZE = {"width": WIDTH, "height": HEIGHT}


@dataclass(frozen=True)
class PipelineRecipe:
    """A pipeline of diffusers. settings: its arguments that stay; arguments: those that an order gives."""

    name: str
    pipeline: Any
    settings: Mapping[str, Any]
    weights: Mapping[str, str]
    versions: Mapping[str, str]
    arguments: Callable[[Order], dict[str, Any]]
    needs_mask: bool = False

    def picture(self, order: Order) -> Image.Image:
        generator = torch.Generator().manual_seed(order.seed)  # on the CPU: the same noise for every device
        return self.pipeline(**self.settings, **self.arguments(order), generator=generator).images[0]


def ip_adapter(base: str = BASE, vae: str = VAE, adapter: str = IP_ADAPTER, device: str = "cpu") -> PipelineRecipe:
    """IP-Adapter-Plus on the base model, VAE and sampler of the official scripts; the garment is its image prompt.

    Each of the weights is a folder or a hub id. adapter: holds ``models/image_encoder`` and the adapter's file.

    Raises:
        IMAGDressingError: a package or weights are missing.
    """
    with packages("IP-Adapter"):
        from diffusers import AutoencoderKL, StableDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]
    with published("The VAE", vae, f"huggingface.co/{VAE}"):
        autoencoder = AutoencoderKL.from_pretrained(vae)
    with published("The base model", base, f"huggingface.co/{BASE}"):
        pipeline: Any = StableDiffusionPipeline.from_pretrained(
            base, vae=autoencoder, safety_checker=None, feature_extractor=None
        )
    with published("IP-Adapter", adapter, IP_ADAPTER_SOURCE):
        pipeline.load_ip_adapter(adapter, subfolder="models", weight_name=IP_ADAPTER_FILE)
    pipeline.scheduler = official_scheduler()
    pipeline.set_ip_adapter_scale(IP_ADAPTER_SCALE)
    return PipelineRecipe(
        "IP-Adapter",
        _placed(pipeline, device),
        {"negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE, **SIZE},
        {"base": base, "vae": vae, "adapter": f"{adapter}/models/{IP_ADAPTER_FILE} at scale {IP_ADAPTER_SCALE}"},
        _versions(),
        lambda order: {"prompt": order.text, "ip_adapter_image": _garment(order)},
    )


def blip_diffusion(weights: str = BLIP_DIFFUSION, category: str = "garment", device: str = "cpu") -> PipelineRecipe:
    """BLIP-Diffusion with the garment as its subject: “a garment worn by A beautiful woman …”.

    category: what the garment is called.

    Raises:
        IMAGDressingError: the installed versions do not run it, or the weights are missing.
    """
    versions = _versions()
    if {name: versions[name] for name in BLIP_DIFFUSION_VERSIONS} != BLIP_DIFFUSION_VERSIONS:
        found = ", ".join(f"{name} {versions[name]}" for name in BLIP_DIFFUSION_VERSIONS)
        pins = " ".join(f"{name}=={version}" for name, version in BLIP_DIFFUSION_VERSIONS.items())
        raise IMAGDressingError(
            f"BLIP-Diffusion does not run in {found}: it is no longer maintained there. "
            f"In an environment of its own: pip install {pins}"
        )
    from diffusers import BlipDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]

    with published("BLIP-Diffusion", weights, f"huggingface.co/{BLIP_DIFFUSION}"):
        pipeline = BlipDiffusionPipeline.from_pretrained(weights)
    return PipelineRecipe(
        "BLIP-Diffusion",
        _placed(pipeline, device),
        {
            "source_subject_category": [category],
            "target_subject_category": [category],
            "neg_prompt": NEGATIVE,
            "num_inference_steps": STEPS,
            "guidance_scale": GUIDANCE,
            **SIZE,
        },
        {"pipeline": weights},
        versions,
        lambda order: {"prompt": [f"worn by {order.text}"], "reference_image": _garment(order)},
    )


def versatile_diffusion(weights: str = VERSATILE_DIFFUSION, device: str = "cpu") -> PipelineRecipe:
    """Versatile Diffusion guided by both the prompt and the garment.

    Raises:
        IMAGDressingError: a package or the weights are missing, or diffusers no longer has the pipeline.
    """
    with published("Versatile Diffusion", weights, f"huggingface.co/{VERSATILE_DIFFUSION}"):
        pipeline = _versatile_diffusion_pipeline(weights)
    return PipelineRecipe(
        "Versatile Diffusion",
        _placed(pipeline, device),
        {
            "text_to_image_strength": TEXT_TO_IMAGE,
            "num_inference_steps": STEPS,
            "guidance_scale": GUIDANCE,
            **SIZE,
        },
        {"pipeline": weights},
        _versions(),
        lambda order: {"prompt": order.text, "image": _garment(order)},
    )


def _versatile_diffusion_pipeline(weights: str) -> Any:
    """Load the parts one by one: since the pipeline was deprecated, diffusers no longer finds them by itself."""
    with packages("Versatile Diffusion"):
        import diffusers
        import transformers
        from diffusers import VersatileDiffusionDualGuidedPipeline  # pyright: ignore[reportPrivateImportUsage]
        from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

    parts = {
        "tokenizer": transformers.CLIPTokenizer,
        "text_encoder": transformers.CLIPTextModelWithProjection,
        "image_feature_extractor": transformers.CLIPImageProcessor,
        "image_encoder": transformers.CLIPVisionModelWithProjection,
        "image_unet": diffusers.UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
        "text_unet": UNetFlatConditionModel,
        "vae": diffusers.AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
        "scheduler": diffusers.DDIMScheduler,  # pyright: ignore[reportPrivateImportUsage]
    }
    loaded = {name: part.from_pretrained(weights, subfolder=name) for name, part in parts.items()}
    pipeline: Any = VersatileDiffusionDualGuidedPipeline(**loaded)
    pipeline.remove_unused_weights()
    _take_masks(pipeline.image_unet)
    return pipeline


class TakesMask(nn.Module):
    """A dual transformer, called as diffusers' U-Net calls any: with a mask of the context, here always None."""

    def __init__(self, dual: nn.Module) -> None:
        super().__init__()
        self.dual = dual

    def forward(self, hidden_states: Tensor, encoder_attention_mask: None = None, **inputs: Any) -> Any:
        return self.dual(hidden_states, **inputs)


def _take_masks(unet: nn.Module) -> None:
    from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel

    for name, module in list(unet.named_modules()):
        if isinstance(module, DualTransformer2DModel):
            unet.set_submodule(name, TakesMask(module))


def _placed(pipeline: Any, device: str) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, torch.float16 if device.startswith("cuda") else torch.float32)


def _garment(order: Order) -> Image.Image:
    return Image.fromarray(read_picture(order.garment))


def _versions() -> dict[str, str]:
    with packages("Making pictures"):
        import diffusers
        import transformers
    return {"diffusers": diffusers.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
