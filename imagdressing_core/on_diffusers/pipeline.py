"""The same model outside ComfyUI, on diffusers: for training, evaluation and scripts, in any batch.

Needs diffusers and transformers (the extra ``training``), which the nodes do not.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import IMAGDressingError, first_line
from ..files.checkpoint import read_checkpoint
from ..images.preprocess import FITS, OFFICIAL_HEIGHT, OFFICIAL_WIDTH, tensor_from_images
from ..model.garment import LayerKV
from ..model.layers import LAYERS
from .official import CLIP_MEAN, CLIP_STD, GUIDANCE, NEGATIVE_PROMPT, STEPS
from .unet import GarmentInputs, GarmentModel, garment_model, guided_noise, install_hybrid_attention


def denoise(
    unet: nn.Module,
    noise: Tensor,
    text: Tensor,
    negative: Tensor,
    worn: GarmentInputs | None,
    scheduler: Any,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the latents that a diffusers scheduler makes of ``noise``, (images, 4, h, w), unit variance.

    text, negative: (images, 77, 768); generator: for schedulers that add noise themselves.
    """
    scheduler = type(scheduler).from_config(scheduler.config)  # a scheduler keeps state: one for each run
    scheduler.set_timesteps(steps, device=noise.device)
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t)
        epsilon = guided_noise(unet, seen, t, text, negative, worn, guidance)
        x = scheduler.step(epsilon, t, x, **extra).prev_sample
    return x


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
    """Return C_t, (texts, 77, 768); what is beyond 77 tokens is cut."""
    length: int = tokenizer.model_max_length
    ids = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return text_encoder(ids.input_ids.to(device)).last_hidden_state


@dataclass(frozen=True)
class DressingPipeline:
    """All models of IMAGDressing-v1 on one device in one dtype.

    unet: the denoising U-Net, with :func:`install_hybrid_attention`. scheduler: any of diffusers'.
    """

    unet: Any
    garment: GarmentModel
    vae: Any
    text_encoder: Any
    tokenizer: Any
    image_encoder: Any
    scheduler: Any

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def factor(self) -> int:
        """Pixels of a latent's side: 8."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.inference_mode()
    def encode_garments(
        self,
        images: Sequence[Image.Image],
        fit: str = "official",
        width: int = OFFICIAL_WIDTH,
        height: int = OFFICIAL_HEIGHT,
    ) -> dict[int, LayerKV]:
        """Read garment images: K' and V' by layer index, each (images, garment tokens, C).

        fit: a key of ``preprocess.FITS``; width, height: in pixels, what the VAE sees.
        """
        fitted = [FITS[fit](image.convert("RGB"), width, height) for image in images]
        pixels = self._to_model(vae_pixels([one.vae for one in fitted]))
        latent = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        clip = clip_hidden_states(self.image_encoder, self._to_model(clip_pixels([one.clip for one in fitted])))
        return self.garment(latent, clip)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return text_embeddings(self.text_encoder, self.tokenizer, texts, self.device)

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
        seed: int = 42,
    ) -> list[Image.Image]:
        """Return images: for each prompt ``images_per_garment``, in that order; prompt i wears garment i.

        garments: of :meth:`encode_garments`, as many as prompts or one for all; None for the undressed base model.
        seed: image i starts from the noise of ``seed`` + i, made on the CPU: the same on every device, in every batch.

        Raises:
            IMAGDressingError: as many garments as fit neither one nor all prompts, or a size the model cannot have.
        """
        repeat = images_per_garment
        count = len(prompts) * repeat
        noise = torch.stack([self._noise(seed + i, width, height) for i in range(count)])
        text = self.encode_texts(prompts).repeat_interleave(repeat, dim=0)
        latents = denoise(
            self.unet,
            self._to_model(noise),
            text,
            self.encode_texts([negative]).expand(count, -1, -1),
            None if garments is None else GarmentInputs(_for_images(garments, len(prompts), repeat), strength),
            self.scheduler,
            steps,
            guidance,
            torch.Generator(self.device).manual_seed(seed),
        )
        decoded = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample
        return images_from_pixels(decoded)

    def _noise(self, seed: int, width: int, height: int) -> Tensor:
        if width % self.factor or height % self.factor or min(width, height) < self.factor:
            raise IMAGDressingError(f"An image of {width} × {height} cannot be made: take multiples of {self.factor}.")
        shape = self.unet.config.in_channels, height // self.factor, width // self.factor
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def _to_model(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.unet.dtype)


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
) -> DressingPipeline:
    """Load everything from local folders and files; nothing is downloaded.

    base: an SD1.5 in diffusers' folders (``unet``, ``text_encoder``, ``tokenizer``, ``vae``), the dressing model.
    checkpoint: as :func:`.checkpoint.read_checkpoint` takes it. image_encoder: CLIP ViT-H/14 in transformers' format.
    vae: another VAE's folder, ``sd-vae-ft-mse`` officially.

    Raises:
        IMAGDressingError: a folder is missing or holds something else, or as :func:`.checkpoint.read_checkpoint`.
    """
    from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

    trained = read_checkpoint(checkpoint)
    if not trained.qformer:
        raise IMAGDressingError(f"{checkpoint.name} is MagicClothing's, which only the nodes can use.")
    frozen = load_frozen(base, image_encoder, vae)
    with torch.device("meta"):
        empty: Any = UNet2DConditionModel.from_config(frozen["unet"].config)
        garment = garment_model(empty, frozen["image_encoder"].config.hidden_size)
    garment.load_state_dict(trained.tensors, assign=True)
    models = {name: model if name == "tokenizer" else model.to(device, dtype) for name, model in frozen.items()}
    garment = garment.eval().requires_grad_(False).to(device, dtype)
    return DressingPipeline(garment=garment, scheduler=official_scheduler(), **models)


def load_frozen(base: Path, image_encoder: Path, vae: Path | None = None) -> dict[str, Any]:
    """Load what is never trained, as :func:`load_pipeline` does: unet, vae, text_encoder, tokenizer, image_encoder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    found: dict[str, tuple[Any, Path]] = {
        "unet": (UNet2DConditionModel, base / "unet"),
        "vae": (AutoencoderKL, vae or base / "vae"),
        "text_encoder": (CLIPTextModel, base / "text_encoder"),
        "tokenizer": (CLIPTokenizer, base / "tokenizer"),
        "image_encoder": (CLIPVisionModelWithProjection, image_encoder),
    }
    loaded = {name: load_folder(kind, folder) for name, (kind, folder) in found.items()}
    for name, model in loaded.items():
        if name != "tokenizer":
            model.eval().requires_grad_(False)
    install_hybrid_attention(loaded["unet"])
    return loaded


def load_folder(kind: Any, folder: Path) -> Any:
    """Load a diffusers or transformers class from a local folder, its weights whole and from safetensors only.

    Raises:
        IMAGDressingError: the folder is missing, incomplete or holds another architecture.
    """
    name: str = kind.__name__
    if not folder.is_dir():
        raise IMAGDressingError(f"{folder} does not exist: it should hold a {name} in diffusers' folder format.")
    is_tokenizer = name == "CLIPTokenizer"
    options: Mapping[str, Any] = {} if is_tokenizer else {"use_safetensors": True, "output_loading_info": True}
    try:
        found = kind.from_pretrained(str(folder), local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        reason = first_line(error)[:300]
        raise IMAGDressingError(f"{folder} does not hold a whole {name} with .safetensors weights: {reason}") from error
    if is_tokenizer:
        return found
    model, report = found
    wrong = sorted(set(report["missing_keys"]) | {str(key) for key in report["mismatched_keys"]})
    if wrong:
        raise IMAGDressingError(
            f"{folder} is not a whole {name}: {len(wrong)} tensors are missing or misshapen (first: {wrong[0]})."
        )
    return model


def official_scheduler() -> Any:
    """Return the sampler of the official scripts: DDIM, leading spacing."""
    from diffusers import DDIMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
