"""The model outside ComfyUI, on diffusers: for training, evaluation and scripts, in any batch.

Needs diffusers and transformers (the extra ``training``), which the nodes do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import IMAGDressingError
from ..images.preprocess import FITS, OFFICIAL_HEIGHT, OFFICIAL_WIDTH, tensor_from_images
from ..model.garment import LayerKV
from ..model.layers import LAYERS
from .finite import finite_images, require_size
from .loading import load_frozen, load_model, load_trained
from .official import CLIP_MEAN, CLIP_STD, GUIDANCE, NEGATIVE_PROMPT, NOISE_SCHEDULE, STEPS
from .unet import GarmentInputs, GarmentModel, garment_model


def stable_diffusion(
    unet: nn.Module,
    scheduler: Any,
    vae: Any = None,
    text_encoder: Any = None,
    tokenizer: Any = None,
    controlnet: Any = None,
) -> Any:
    """Return diffusers' own pipeline, with or without a ControlNet, around a U-Net with hybrid attention.

    It takes ``cross_attention_kwargs={"garment": GarmentInputs(…)}``. Its batch is [negative, positive], its guidance
    the paper's Eq. 7, w·ε_θ(x, C_t, C_g, t) + (1 − w)·ε_θ(x, negative, t), at any w.
    """
    import diffusers

    plain: Any = diffusers.StableDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]
    posed: Any = diffusers.StableDiffusionControlNetPipeline  # pyright: ignore[reportPrivateImportUsage]

    class GuidedAtAnyScale(plain if controlnet is None else posed):
        @property
        def do_classifier_free_guidance(self) -> bool:
            return self.guidance_scale != 1  # diffusers' own ignores a scale below 1

    made: Any = GuidedAtAnyScale(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=type(scheduler).from_config(scheduler.config),  # a scheduler keeps state: one for each pipeline
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **({} if controlnet is None else {"controlnet": controlnet}),
    )
    made.set_progress_bar_config(disable=True)
    return made


def denoise(
    unet: nn.Module,
    noise: Tensor,
    text: Tensor,
    negative: Tensor,
    garment: GarmentInputs | None,
    scheduler: Any,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> Tensor:
    """Sample latents by the paper's Eq. 7, the garment in the positive branch only.

    Args:
        unet: The denoising U-Net with hybrid attention.
        noise: Unit variance, (images, 4, h, w).
        text: C_t, (images, 77, 768).
        negative: The negative prompt's embedding, of the same shape.
        garment: The garments of the images, None for the base model alone.
        scheduler: Any of diffusers'.
        steps: Sampling steps.
        guidance: w. At 1 the negative branch is not computed.
    """
    pipeline = stable_diffusion(unet, scheduler)
    height, width = (side * pipeline.vae_scale_factor for side in noise.shape[-2:])
    return pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=negative,
        latents=noise,
        cross_attention_kwargs=_garment_of(garment, len(noise), guidance),
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=height,
        width=width,
        output_type="latent",
    ).images


def _garment_of(garment: GarmentInputs | None, images: int, guidance: float) -> dict[str, GarmentInputs] | None:
    """Return the U-Net's further input: the garment for the positive rows, which follow the negative ones."""
    return None if garment is None else {"garment": replace(garment, first_row=0 if guidance == 1 else images)}


def clip_pixels(images: list[Image.Image]) -> Tensor:
    """Return images already at 224 × 224 as CLIP takes them, (batch, 3, 224, 224)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (tensor_from_images(images).movedim(-1, 1) - mean) / std


def vae_pixels(images: list[Image.Image]) -> Tensor:
    """Return images of one size as the VAE takes them, (batch, 3, height, width), −1 … 1."""
    return tensor_from_images(images).movedim(-1, 1) * 2 - 1


def images_from_pixels(pixels: Tensor) -> list[Image.Image]:
    """Return what the VAE decoded, (batch, 3, height, width), −1 … 1, as RGB images."""
    values = ((pixels.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
    return [Image.fromarray(image.numpy()) for image in values]


def clip_hidden_states(image_encoder: nn.Module, pixels: Tensor) -> Tensor:
    """Return CLIP's penultimate hidden states, (batch, 257, 1280)."""
    return image_encoder(pixels, output_hidden_states=True).hidden_states[-2]


def text_embeddings(text_encoder: nn.Module, tokenizer: Any, texts: Sequence[str], device: Any) -> Tensor:
    """Return C_t, (texts, 77, 768). Tokens after the 77th are cut off."""
    length: int = tokenizer.model_max_length
    ids = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return text_encoder(ids.input_ids.to(device)).last_hidden_state


@dataclass(frozen=True)
class DressingPipeline:
    """All models of IMAGDressing-v1 on one device in one dtype.

    Attributes:
        base: Diffusers' own pipeline, see :func:`stable_diffusion`; its scheduler may be replaced.
        garment: The trained parts.
        image_encoder: CLIP ViT-H/14.
        posed: As ``base`` and around the same models, with a ControlNet for images of a given pose; None without one.
    """

    base: Any
    garment: GarmentModel
    image_encoder: Any
    posed: Any = None

    @torch.inference_mode()
    def encode_garments(
        self,
        images: Sequence[Image.Image],
        fit: str = "official",
        width: int = OFFICIAL_WIDTH,
        height: int = OFFICIAL_HEIGHT,
    ) -> dict[int, LayerKV]:
        """Return K' and V' of garment images by layer index, each (images, garment tokens, C).

        Args:
            images: Of any size.
            fit: A key of ``preprocess.FITS``.
            width: Of what the VAE sees, in pixels.
            height: The same.
        """
        fitted = [FITS[fit](image.convert("RGB"), width, height) for image in images]
        pixels = self._to_model(vae_pixels([one.vae for one in fitted]))
        vae = self.base.vae
        latent = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
        clip = clip_hidden_states(self.image_encoder, self._to_model(clip_pixels([one.clip for one in fitted])))
        return self.garment(latent, clip)

    @torch.inference_mode()
    def __call__(
        self,
        garments: Mapping[int, LayerKV] | None,
        prompts: Sequence[str],
        negative: str = NEGATIVE_PROMPT,
        images_per_garment: int = 1,
        guidance: float = GUIDANCE,
        strength: float = 1.0,
        steps: int = STEPS,
        width: int = OFFICIAL_WIDTH,
        height: int = OFFICIAL_HEIGHT,
        seed: int | Sequence[int] = 42,
        poses: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        """Return images: for each prompt ``images_per_garment`` of them, in that order; prompt i has garment i.

        Args:
            garments: Of :meth:`encode_garments`, as many as prompts or one for all; None for the base model alone.
            prompts: One for each garment, or more for one garment.
            negative: The negative prompt of all images.
            images_per_garment: How many images each prompt gets.
            guidance: w of Eq. 7. At 1 the negative branch is not computed.
            strength: λ.
            steps: Sampling steps.
            width, height: Of the images, in pixels.
            seed: Image i starts from the noise of ``seed`` + i, or of seed i of several, whatever device and batch.
            poses: What the ControlNet sees, one for each prompt: for OpenPose the drawn skeletons.

        Raises:
            IMAGDressingError: Garments or poses do not fit prompts or models, or no image has this size.
            NotFinite: An image has NaN or infinite values.
        """
        repeat = images_per_garment
        sources = _sources(seed, len(prompts) * repeat)
        noise = torch.stack([self._noise(one, width, height) for one in sources])
        inputs = None if garments is None else GarmentInputs(_for_images(garments, len(prompts), repeat), strength)
        pipeline = self.base if poses is None else self.posed
        if pipeline is None:
            raise IMAGDressingError("poses are given, but no ControlNet was loaded to follow them.")
        further = {} if poses is None else {"image": [pose.convert("RGB") for pose in poses]}
        made = pipeline(
            prompt=list(prompts),
            negative_prompt=[negative] * len(prompts),
            num_images_per_prompt=repeat,
            latents=self._to_model(noise),
            cross_attention_kwargs=_garment_of(inputs, len(sources), guidance),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=sources,
            **{"width": width, "height": height, "output_type": "np", **further},
        )
        return finite_images(made.images)

    def _noise(self, source: torch.Generator, width: int, height: int) -> Tensor:
        factor = self.base.vae_scale_factor
        require_size(width, height)
        shape = self.base.unet.config.in_channels, height // factor, width // factor
        return torch.randn(shape, generator=source)

    def _to_model(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.base.device, self.base.unet.dtype)


def _sources(seed: int | Sequence[int], count: int) -> list[torch.Generator]:
    seeds = range(seed, seed + count) if isinstance(seed, int) else seed
    return [torch.Generator().manual_seed(one) for _, one in zip(range(count), seeds, strict=True)]


def _for_images(layers: Mapping[int, LayerKV], prompts: int, repeat: int) -> Mapping[int, LayerKV]:
    garments = len(layers[LAYERS[0].index].k)
    if garments not in (1, prompts):
        raise IMAGDressingError(f"{garments} garments for {prompts} prompts: give one, or one for each.")
    if garments == 1 or repeat == 1:
        return layers
    return {index: layer.map(lambda t: t.repeat_interleave(repeat, dim=0)) for index, layer in layers.items()}


def load_pipeline(
    base: Path,
    checkpoint: Path,
    image_encoder: Path,
    vae: Path | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    controlnet: Path | None = None,
    tokenizer: Path | None = None,
) -> DressingPipeline:
    """Load everything from local folders and files. Nothing is downloaded.

    Args:
        base: An SD1.5 in diffusers' folders or as one file, the denoising U-Net among them. A narrower one needs a
            checkpoint that was trained with it.
        checkpoint: As :func:`.checkpoint.read_checkpoint` takes it, or as the training exports it.
        image_encoder: CLIP ViT-H/14 in transformers' format, its folder or its file.
        vae: The folder or file of another VAE; ``sd-vae-ft-mse`` in the official scripts.
        device: A name of PyTorch's.
        dtype: Of all models.
        controlnet: A folder in diffusers' format, for instance of the OpenPose ControlNet for SD1.5.
        tokenizer: The folder of CLIP's vocabulary, which a base of one file does not have.

    Raises:
        IMAGDressingError: A folder or file is missing, damaged or holds something else.
    """
    from diffusers import ControlNetModel, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

    frozen = load_frozen(base, image_encoder, vae, tokenizer)
    with torch.device("meta"):
        empty: Any = UNet2DConditionModel.from_config(frozen["unet"].config)
        garment = garment_model(empty, frozen["image_encoder"].config.hidden_size)
    load_trained(garment, checkpoint)
    models = {name: model if name == "tokenizer" else model.to(device, dtype) for name, model in frozen.items()}
    garment = garment.eval().requires_grad_(False).to(device, dtype)
    encoder = models.pop("image_encoder")
    models["scheduler"] = official_scheduler()
    posed = None
    if controlnet is not None:
        control = load_model(ControlNetModel, controlnet).eval().requires_grad_(False).to(device, dtype)
        posed = stable_diffusion(**models, controlnet=control)
    return DressingPipeline(stable_diffusion(**models), garment, encoder, posed)


def official_scheduler() -> Any:
    """Return the sampler of the official scripts: DDIM, leading spacing."""
    from diffusers import DDIMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDIMScheduler(**NOISE_SCHEDULE, set_alpha_to_one=False, steps_offset=1)
