"""Models by their names on the Hugging Face hub, as ``hub:owner/name`` or ``hub:owner/name/folder``."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ..errors import IMAGDressingError, first_line, packages
from ..on_diffusers.loading import part_of
from .config import Models

PREFIX = "hub:"
BASE_FOLDERS = ("unet", "text_encoder", "tokenizer", "vae")
WORDS = ("*.json", "*.txt")
NEEDED = (*WORDS, "*model.safetensors")  # weights in fp16, without EMA, or as pickles have other endings


def local(models: Models) -> Models:
    """Return the models with local paths in place of names on the hub. What is missing here is downloaded.

    Raises:
        IMAGDressingError: A name is wrong, or the hub cannot be reached.
    """
    named = {key: path for key, path in vars(models).items() if path is not None and path.as_posix().startswith(PREFIX)}
    folders = {key: BASE_FOLDERS if key == "base" else () for key in named}
    needed = {key: WORDS if key == "tokenizer" else NEEDED for key in named}
    found = {key: _downloaded(path.as_posix(), folders[key], needed[key]) for key, path in named.items()}
    return replace(models, **found)


def weights_of(models: Models) -> dict[str, Path]:
    """Return the folder or file with the weights of each model, by the model's name; see :func:`local`."""
    models = local(models)
    parts = {name: part_of(models.base, name) for name in ("unet", "text_encoder", "vae")}
    own = {name: getattr(models, name) for name in ("vae", "image_encoder", "ip_adapter", "start_from")}
    return parts | {name: path for name, path in own.items() if path is not None}


@lru_cache
def _downloaded(name: str, folders: tuple[str, ...], needed: tuple[str, ...]) -> Path:
    with packages("A model's name on the hub", "download"):
        from huggingface_hub import snapshot_download
    owner, _, rest = name.removeprefix(PREFIX).partition("/")
    repository, _, inside = rest.partition("/")
    if not owner or not repository:
        raise IMAGDressingError(f"{name} is no name on the hub: {PREFIX}owner/name or {PREFIX}owner/name/folder.")
    within = [f"{inside}/{folder}".strip("/") for folder in folders or ("",)]
    patterns = [f"{folder}/{pattern}".lstrip("/") for folder in within for pattern in needed]
    try:
        wanted = [*patterns, inside] if inside else patterns  # inside may be a file
        snapshot = snapshot_download(f"{owner}/{repository}", allow_patterns=wanted)
    except Exception as error:  # whatever the hub's client raises
        raise IMAGDressingError(
            f"{name} could not be downloaded: {first_line(error)}. Check the name and the connection, or name a local "
            "folder."
        ) from error
    return Path(snapshot) / inside
