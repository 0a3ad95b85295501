"""Random models in the official formats and full SD1.5 shapes, for tests and demo without any download.

They make noise, not pictures; their numbers are those of the reference vectors (see ``synthetic_weights.py``).
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imagdressing_core.files import official_files
from support.comfyui_release import make_importable, prepare_base
from support.synthetic_weights import synthetic_tensor

Weights = dict[str, Tensor]
MARK = "SYNTHETIC.txt"


def sd15_unet() -> nn.Module:
    from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def sd15_vae(latent_channels: int = 4) -> nn.Module:
    from diffusers import AutoencoderKL  # pyright: ignore[reportPrivateImportUsage]

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        block_out_channels=(128, 256, 512, 512),  # pyright: ignore[reportArgumentType]
        layers_per_block=2,
        latent_channels=latent_channels,
    )


def sd15_controlnet() -> nn.Module:
    from diffusers import ControlNetModel  # pyright: ignore[reportPrivateImportUsage]

    return ControlNetModel(cross_attention_dim=768)


def clip_text() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    )


def clip_vision_h() -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=1024,
            hidden_act="gelu",
        )
    )


def write_magic_clothing(path: Path) -> None:
    """Write a checkpoint of MagicClothing's kind: a bare U-Net, here the synthetic garment U-Net in half precision."""
    source = synthetic_base() / "models" / official_files.GARMENT.path
    whole: Weights = torch.load(source, map_location="cpu", weights_only=True, mmap=True)["module"]
    unet = {key: value.half().contiguous() for key, value in whole.items() if key.startswith("ref_unet.")}
    save_file({key.removeprefix("ref_unet."): value for key, value in unet.items()}, path)


def synthetic_state(build: Callable[[], nn.Module], prefix: str) -> Weights:
    """Return the module's synthetic float32 weights under its own keys; position ids are no weights."""
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in build().state_dict().items() if "position_ids" not in key}
    with ThreadPoolExecutor() as pool:
        tensors = pool.map(lambda item: synthetic_tensor(prefix + item[0], item[1]), shapes.items())
        return dict(zip(shapes, tensors, strict=True))


def halved(weights: Weights) -> Weights:
    return {key: tensor.half() for key, tensor in weights.items()}


def dressing_checkpoint() -> Weights:
    """Return an SD1.5 checkpoint without VAE in the single-file format, as Realistic Vision V4.0 (noVAE) is."""
    unet = synthetic_state(sd15_unet, "unet.")
    names = _host_unet_names(unet)
    return {f"model.diffusion_model.{names[key]}": tensor for key, tensor in unet.items()} | {
        f"cond_stage_model.transformer.{key}": tensor for key, tensor in text_encoder().items()
    }


def text_encoder() -> Weights:
    """Return SD1.5's text encoder under the names of the file on the hub, whatever transformers calls them."""
    text = synthetic_state(clip_text, "text_encoder.")
    return {key if key.startswith("text_model.") else f"text_model.{key}": tensor for key, tensor in text.items()}


def garment_checkpoint() -> Weights:
    """Return the content of the official file's ``module``; its frozen ``unet.*`` shares the garment U-Net's memory."""
    from imagdressing_core.model.hybrid_attention import GarmentProjections
    from imagdressing_core.model.qformer import QFormer

    garment_unet = synthetic_state(sd15_unet, "ref_unet.")
    parts = {
        "unet.": garment_unet,
        "ref_unet.": garment_unet,
        "proj.": synthetic_state(QFormer, "proj."),
        "adapter_modules.": synthetic_state(GarmentProjections, "adapter_modules."),
    }
    return {prefix + key: tensor for prefix, part in parts.items() for key, tensor in part.items()}


def make_models(folder: Path) -> None:
    """Make every model that is not there yet below ``folder``, a ComfyUI's ``models``."""
    for file, make in {
        official_files.GARMENT: garment_checkpoint,
        official_files.DENOISING: dressing_checkpoint,
        official_files.VAE: lambda: synthetic_state(sd15_vae, "vae."),
        official_files.CLIP_VISION: lambda: synthetic_state(clip_vision_h, "clip_vision."),
        official_files.CONTROLNET: lambda: halved(synthetic_state(sd15_controlnet, "controlnet.")),
    }.items():
        path = folder / file.path
        if not path.exists():
            print(f"Making synthetic {file.path} …", file=sys.stderr)
            save_model(make(), path)
    (folder / MARK).write_text("These models are random numbers in the official formats, made for tests.\n")


def synthetic_base() -> Path:
    """Return the base directory of the tests, with every model in it."""
    base = prepare_base()
    make_models(base / "models")
    return base


def save_model(weights: Weights, path: Path) -> None:
    """Write a file in the format of its suffix, whole or not at all; ``.pt`` as the official checkpoint has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    if path.suffix == ".pt":
        torch.save({"module": weights}, unfinished)
    else:
        save_file(weights, unfinished, {"format": "pt"})
    unfinished.replace(path)


def _host_unet_names(unet: Weights) -> dict[str, str]:
    make_importable()
    from comfy import model_detection, utils

    config = model_detection.model_config_from_diffusers_unet(unet)
    return utils.unet_to_diffusers(config.unet_config)  # pyright: ignore[reportOptionalMemberAccess]


if __name__ == "__main__":
    synthetic_base()
