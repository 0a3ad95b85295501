"""Loading of the model's parts from local folders and files, for use on diffusers."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import IMAGDressingError, first_line
from ..files.checkpoint import expected_shapes, read_checkpoint
from ..files.weights import misfits, open_weights
from .single_file import load_single_file
from .unet import GarmentModel, install_hybrid_attention

FROZEN_PARTS = ("tokenizer", "unet", "vae", "text_encoder", "image_encoder")
TOKENIZERS = "ComfyUI has it as the folder comfy/sd1_tokenizer, the hub as openai/clip-vit-large-patch14."


def load_trained(trained: GarmentModel, path: Path) -> None:
    """Load a checkpoint into the trained parts, whatever their width.

    Raises:
        IMAGDressingError: As :func:`read_checkpoint`, or the checkpoint belongs to other models.
    """
    if shapes_of(trained.state_dict()) != expected_shapes():
        load_weights(trained, open_weights(path)[1], path)
        return
    checkpoint = read_checkpoint(path)
    if not checkpoint.qformer:
        raise IMAGDressingError(f"{path.name} is MagicClothing's, which only the nodes can use.")
    load_weights(trained, checkpoint.tensors, path)


def load_weights(module: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Load weights that are exactly those of ``module``; ``path`` is for the message. On the meta device, assign them.

    Raises:
        IMAGDressingError: Tensors are missing, surplus or of another shape.
    """
    own = module.state_dict()
    problems = misfits(weights, shapes_of(own))
    if problems:
        raise IMAGDressingError(f"{path} does not fit these models: {problems}.")
    module.load_state_dict(weights, assign=any(one.is_meta for one in own.values()))


def shapes_of(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in weights.items() if isinstance(tensor, Tensor)}


def part_of(base: Path, name: str) -> Path:
    """Return where a part of an SD1.5 is: in its folder of diffusers' format, or in the one file with all parts."""
    return base if base.is_file() else base / name


def load_frozen(
    base: Path,
    image_encoder: Path,
    vae: Path | None = None,
    tokenizer: Path | None = None,
    parts: Collection[str] = FROZEN_PARTS,
) -> dict[str, Any]:
    """Load the models that are never trained: all that ``FROZEN_PARTS`` names, or some of them.

    Args:
        base: An SD1.5 in diffusers' folders (``unet``, ``text_encoder``, ``tokenizer``, ``vae``), or as one
            ``.safetensors`` file.
        image_encoder: CLIP ViT-H/14 in transformers' format, its folder or its file.
        vae: The folder or file of another VAE; ``sd-vae-ft-mse`` in the official scripts.
        tokenizer: The folder of CLIP's vocabulary, which a single file does not have.
        parts: Those to load; the others are not read, and not needed.

    Raises:
        IMAGDressingError: A folder or file is missing or holds another model.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    if tokenizer is None and base.is_file() and "tokenizer" in parts:
        raise IMAGDressingError(f"{base} is a single file, which holds no tokenizer: name one. {TOKENIZERS}")
    found: dict[str, tuple[Any, Path]] = {
        "tokenizer": (CLIPTokenizer, tokenizer or base / "tokenizer"),
        "unet": (UNet2DConditionModel, part_of(base, "unet")),
        "vae": (AutoencoderKL, vae or part_of(base, "vae")),
        "text_encoder": (CLIPTextModel, part_of(base, "text_encoder")),
        "image_encoder": (CLIPVisionModelWithProjection, image_encoder),
    }
    loaded = {name: load_model(kind, path) for name, (kind, path) in found.items() if name in parts}
    for name, model in loaded.items():
        if name != "tokenizer":
            model.eval().requires_grad_(False)
    if "tokenizer" in loaded:  # ComfyUI's says 8192
        loaded["tokenizer"].model_max_length = loaded["text_encoder"].config.max_position_embeddings
    if "unet" in loaded:
        install_hybrid_attention(loaded["unet"])
    return loaded


def load_model(kind: Any, path: Path) -> Any:
    """Load a diffusers or transformers class, its weights whole and from safetensors only.

    Args:
        kind: The class.
        path: A local folder in the library's format, or a file as :func:`load_single_file` reads it.

    Raises:
        IMAGDressingError: the folder or file is missing, incomplete or holds another architecture.
    """
    return load_single_file(kind, path) if path.is_file() else _load_folder(kind, path)


def _load_folder(kind: Any, folder: Path) -> Any:
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
