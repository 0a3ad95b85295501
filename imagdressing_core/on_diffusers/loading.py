"""Loading of the model's parts from local folders and files, for use on diffusers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import IMAGDressingError, first_line
from ..files.checkpoint import expected_shapes, read_checkpoint
from ..files.weights import open_weights
from .unet import GarmentModel, install_hybrid_attention


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
    expected, found = shapes_of(own), shapes_of(weights)
    if expected != found:
        wrong = sorted(key for key in expected | found if expected.get(key) != found.get(key))
        raise IMAGDressingError(
            f"{path} does not fit these models: {len(wrong)} tensors are missing, surplus or of another shape (first: "
            f"{wrong[0]}, found {found.get(wrong[0])}, expected {expected.get(wrong[0])})."
        )
    module.load_state_dict(weights, assign=any(one.is_meta for one in own.values()))


def shapes_of(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in weights.items() if isinstance(tensor, Tensor)}


def load_frozen(base: Path, image_encoder: Path, vae: Path | None = None) -> dict[str, Any]:
    """Load the models that are never trained: unet, vae, text_encoder, tokenizer, image_encoder.

    Args:
        base: An SD1.5 in diffusers' folders (``unet``, ``text_encoder``, ``tokenizer``, ``vae``).
        image_encoder: CLIP ViT-H/14 in transformers' format.
        vae: The folder of another VAE; ``sd-vae-ft-mse`` in the official scripts.

    Raises:
        IMAGDressingError: A folder is missing or holds another model.
    """
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
