"""Models on diffusers from the single files that ComfyUI reads. Nothing is downloaded, and no code in them runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from ..errors import IMAGDressingError, first_line
from ..files.diagnosis import foreign_file
from ..files.reading import reading
from ..files.safetensors_file import open_safetensors
from ..files.weights import misfits

# What a single file does not say of itself, as in stable-diffusion-v1-5's and IP-Adapter's config.json; all else is the
# class' default. By the name of the class.
CONFIGS: dict[str, dict[str, Any]] = {
    "UNet2DConditionModel": {"cross_attention_dim": 768},
    "AutoencoderKL": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    },
    "CLIPTextModel": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    "CLIPVisionModelWithProjection": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 1024,
        "hidden_act": "gelu",
    },
}
IN_CHECKPOINT, TEXT_MODEL = "cond_stage_model.transformer.", "text_model."  # the second in older transformers too
# Where a class' tensors are: the beginnings of their names in a whole checkpoint, and in a file of their own.
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "UNet2DConditionModel": ("model.diffusion_model.",),
    "AutoencoderKL": ("first_stage_model.", "encoder.", "decoder.", "quant_conv.", "post_quant_conv."),
    "CLIPTextModel": (IN_CHECKPOINT,),
    "CLIPVisionModelWithProjection": ("vision_model.", "visual_projection."),
}
SUITABLE = ("a Stable Diffusion checkpoint", "a VAE", "a CLIP vision model")


def load_single_file(kind: Any, path: Path) -> Any:
    """Load a diffusers or transformers class from a ``.safetensors`` file in float32, all of its weights or none.

    Args:
        kind: A class that ``CONFIGS`` names.
        path: An SD1.5 checkpoint, or a VAE's or CLIP vision model's own file.

    Raises:
        IMAGDressingError: The file is damaged, or its weights are not those of such a model of SD1.5.
    """
    name: str = kind.__name__
    if path.suffix.lower() != ".safetensors" or name not in CONFIGS:
        raise IMAGDressingError(f"{path} cannot be read as a {name}: name a .safetensors file or diffusers' folder.")
    with reading(path, "Download it again."), open_safetensors(path) as file:
        keys = list(file.keys())
        found = {key: file.get_tensor(key) for key in keys if key.startswith(PREFIXES[name])}
    _require_suitable(path, name, keys, found)
    try:
        return _from_diffusers(kind, found) if hasattr(kind, "from_single_file") else _from_transformers(kind, found)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise IMAGDressingError(
            f"{path} does not hold a whole {name} of SD1.5: {first_line(error)[:300]}. Models of SD2 or for "
            "inpainting do not fit; choose another checkpoint."
        ) from error


def _require_suitable(path: Path, name: str, keys: Sequence[str], found: Mapping[str, Tensor]) -> None:
    foreign = foreign_file(keys)
    what = "of no known kind" if foreign is None else foreign.what
    if foreign is not None and what not in SUITABLE:
        raise IMAGDressingError(f"{path} is {what}: a {name} is read from an SD1.5 checkpoint or from its own file.")
    if not found:
        advice = " Name one as vae: many checkpoints come without it." if name == "AutoencoderKL" else ""
        raise IMAGDressingError(f"{path} is {what} and holds no {name}.{advice}")


def _from_diffusers(kind: Any, found: Mapping[str, Tensor]) -> Any:
    with TemporaryDirectory() as folder:
        kind.from_config(CONFIGS[kind.__name__]).save_config(folder)
        try:
            return kind.from_single_file(dict(found), config=folder, local_files_only=True)
        except NotImplementedError as error:  # PyTorch's, of tensors that got no values
            raise ValueError("some of its tensors are missing") from error


def _from_transformers(kind: Any, found: Mapping[str, Tensor]) -> Any:
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = kind(kind.config_class(**CONFIGS[kind.__name__]))
    expected = {key: tuple(one.shape) for key, one in model.state_dict().items()}
    weights = {key.removeprefix(IN_CHECKPOINT): one for key, one in found.items() if "position_ids" not in key}
    if not any(key.startswith(TEXT_MODEL) for key in expected):
        weights = {key.removeprefix(TEXT_MODEL): one for key, one in weights.items()}
    if problems := misfits(weights, expected):
        raise ValueError(problems)
    model.load_state_dict(weights, assign=True)
    return model.float().eval()
