"""IP-Adapter, BLIP-Diffusion and Versatile Diffusion, made by diffusers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import nn

from ..errors import IMAGDressingError, packages
from ..images.preprocess import OFFICIAL_HEIGHT, OFFICIAL_WIDTH
from ..metrics.images import open_image
from ..metrics.weights import Weights, loading_weights
from ..on_diffusers.finite import finite_images
from ..on_diffusers.official import GUIDANCE, NEGATIVE_PROMPT, STEPS
from ..on_diffusers.pipeline import official_scheduler
from .recipe import Order, Recipe

# The base model and the VAE of the official scripts.
BASE = Weights("", "The base model", "SG161222/Realistic_Vision_V4.0_noVAE")
VAE = Weights("", "The VAE", "stabilityai/sd-vae-ft-mse")
IP_ADAPTER = Weights(
    "",
    "IP-Adapter",
    "h94/IP-Adapter",
    " (models/ip-adapter-plus_sd15.safetensors and models/image_encoder)",
    "ip-adapter-plus_sd15.safetensors",
)
IP_ADAPTER_FACE = "ip-adapter-plus-face_sd15.safetensors"  # beside it
CONTROLNET = Weights("", "The ControlNet", "lllyasviel/control_v11p_sd15_openpose")
BLIP_DIFFUSION = Weights("", "BLIP-Diffusion", "Salesforce/blipdiffusion")
VERSATILE_DIFFUSION = Weights("", "Versatile Diffusion", "shi-labs/versatile-diffusion")
IP_ADAPTER_SCALE = 0.5  # from IP-Adapter's README, for images with a prompt
BLIP_DIFFUSION_VERSIONS = {"diffusers": "0.33.1", "transformers": "4.51.3"}
TEXT_TO_IMAGE = 0.75  # from diffusers' own example for this pipeline

SHARED = {
    "num_inference_steps": STEPS,
    "guidance_scale": GUIDANCE,
    "width": OFFICIAL_WIDTH,
    "height": OFFICIAL_HEIGHT,
}


@dataclass(frozen=True, kw_only=True)
class PipelineRecipe(Recipe):
    """A pipeline of diffusers; its settings are the arguments that are the same for every image.

    Attributes:
        arguments: Returns the arguments that an order gives.
    """

    pipeline: Any
    arguments: Callable[[Order], dict[str, Any]]

    def images(self, orders: Sequence[Order]) -> list[Image.Image]:
        return [self.image(order) for order in orders]

    def image(self, order: Order) -> Image.Image:
        generator = torch.Generator().manual_seed(order.seed)  # on the CPU, for the same noise on every device
        named = {**self.settings, **self.arguments(order), "output_type": "np"}
        return finite_images(self.pipeline(**named, generator=generator).images)[0]


def ip_adapter(
    base: str = BASE.hub_id,
    vae: str = VAE.hub_id,
    adapter: str = IP_ADAPTER.hub_id,
    device: str = "cpu",
    controlnet: str | None = None,
    face: bool = False,
) -> PipelineRecipe:
    """IP-Adapter-Plus on the base model, VAE and sampler of the official scripts; the garment is its image prompt.

    Args:
        base: The base model, a folder or a hub id.
        vae: The VAE, likewise.
        adapter: The adapter, likewise: ``models/`` in it holds the adapter's file and ``image_encoder``.
        device: Where the models run.
        controlnet: Of OpenPose, likewise; the images then follow the manifest's poses.
        face: Whether they follow the manifest's faces, by IP-Adapter-Plus-Face of the same folder.

    Raises:
        IMAGDressingError: a package or weights are missing.
    """
    pipeline = _official_base(base, vae, controlnet)
    files = [IP_ADAPTER.file, *([IP_ADAPTER_FACE] if face else [])]
    with loading_weights(IP_ADAPTER, adapter):
        pipeline.load_ip_adapter(adapter, subfolder="models", weight_name=files)
    pipeline.set_ip_adapter_scale([IP_ADAPTER_SCALE] * len(files))
    weights = {"base": base, "vae": vae} | ({} if controlnet is None else {"controlnet": controlnet})

    def arguments(order: Order) -> dict[str, Any]:
        seen = [order.garment, *([order.face] if face else [])]
        pose = {} if controlnet is None or order.pose is None else {"image": open_image(order.pose)}
        return {"prompt": order.text, "ip_adapter_image": [open_image(path) for path in seen if path], **pose}

    return PipelineRecipe(
        name="IP-Adapter",
        settings={"negative_prompt": NEGATIVE_PROMPT, **SHARED},
        weights={**weights, "adapter": f"{adapter}/models/{' and '.join(files)} at scale {IP_ADAPTER_SCALE}"},
        versions=versions(),
        needs=[*(["pose"] if controlnet is not None else []), *(["face"] if face else [])],
        pipeline=_placed(pipeline, device),
        arguments=arguments,
    )


def _official_base(base: str, vae: str, controlnet: str | None) -> Any:
    """Return diffusers' own pipeline with base model, VAE and sampler of the official scripts."""
    with packages("IP-Adapter"):
        import diffusers
    library: Any = diffusers
    kind = library.StableDiffusionPipeline
    with loading_weights(VAE, vae):
        parts: dict[str, Any] = {"vae": library.AutoencoderKL.from_pretrained(vae)}
    if controlnet is not None:
        kind = library.StableDiffusionControlNetPipeline
        with loading_weights(CONTROLNET, controlnet):
            parts["controlnet"] = library.ControlNetModel.from_pretrained(controlnet)
    with loading_weights(BASE, base):
        pipeline = kind.from_pretrained(base, **parts, safety_checker=None, feature_extractor=None)
    pipeline.scheduler = official_scheduler()
    return pipeline


def blip_diffusion(
    weights: str = BLIP_DIFFUSION.hub_id, category: str = "garment", device: str = "cpu"
) -> PipelineRecipe:
    """BLIP-Diffusion with the garment as its subject: “a garment worn by A beautiful woman …”.

    Args:
        weights: A folder or a hub id.
        category: The word for the garment.
        device: Where the models run.

    Raises:
        IMAGDressingError: the installed versions do not run it, or the weights are missing.
    """
    found = versions()
    if {name: found[name] for name in BLIP_DIFFUSION_VERSIONS} != BLIP_DIFFUSION_VERSIONS:
        here = ", ".join(f"{name} {found[name]}" for name in BLIP_DIFFUSION_VERSIONS)
        pins = " ".join(f"{name}=={version}" for name, version in BLIP_DIFFUSION_VERSIONS.items())
        raise IMAGDressingError(
            f"BLIP-Diffusion does not run in {here}: it is no longer maintained there. "
            f"In an environment of its own: pip install {pins}"
        )
    from diffusers import BlipDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]

    with loading_weights(BLIP_DIFFUSION, weights):
        pipeline = BlipDiffusionPipeline.from_pretrained(weights)
    subject = {"source_subject_category": [category], "target_subject_category": [category]}
    return PipelineRecipe(
        name="BLIP-Diffusion",
        settings={**subject, "neg_prompt": NEGATIVE_PROMPT, **SHARED},
        weights={"pipeline": weights},
        versions=found,
        pipeline=_placed(pipeline, device),
        arguments=lambda order: {
            "prompt": [f"worn by {order.text}"],
            "reference_image": open_image(order.garment),
        },
    )


def versatile_diffusion(weights: str = VERSATILE_DIFFUSION.hub_id, device: str = "cpu") -> PipelineRecipe:
    """Versatile Diffusion guided by both the prompt and the garment.

    Raises:
        IMAGDressingError: a package or the weights are missing, or diffusers no longer has the pipeline.
    """
    with loading_weights(VERSATILE_DIFFUSION, weights):
        pipeline = _versatile_diffusion_pipeline(weights)
    return PipelineRecipe(
        name="Versatile Diffusion",
        settings={"text_to_image_strength": TEXT_TO_IMAGE, **SHARED},
        weights={"pipeline": weights},
        versions=versions(),
        pipeline=_placed(pipeline, device),
        arguments=lambda order: {"prompt": order.text, "image": open_image(order.garment)},
    )


def _versatile_diffusion_pipeline(weights: str) -> Any:
    """Load the parts one by one: since the pipeline was deprecated, diffusers no longer finds them by itself."""
    with packages("Versatile Diffusion"):
        import diffusers
        import transformers
        from diffusers import VersatileDiffusionDualGuidedPipeline  # pyright: ignore[reportPrivateImportUsage]
        from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
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
    for module in pipeline.image_unet.modules():
        if isinstance(module, DualTransformer2DModel):
            module.register_forward_pre_hook(_without_mask, with_kwargs=True)
    return pipeline


def _without_mask(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    """Leave out the context's mask, always None here, which diffusers' U-Net passes and a dual transformer refuses."""
    return inputs, {name: value for name, value in named.items() if name != "encoder_attention_mask"}


def _placed(pipeline: Any, device: str) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, torch.float16 if device.startswith("cuda") else torch.float32)


def versions() -> dict[str, str]:
    with packages("The baselines"):
        import diffusers
        import transformers
    return {"diffusers": diffusers.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
