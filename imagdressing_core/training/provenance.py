"""Where an output comes from: version, command, date, and digests of the weights that it was made with."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..command_line import add_file, made_by
from ..on_diffusers.loading import part_of
from .config import Models
from .hub import local


def provenance(models: Models | None = None) -> dict[str, Any]:
    """Return {"version", "command", "date", "weights"}; ``weights`` only with ``models``."""
    return made_by() if models is None else made_by() | {"weights": model_digests(models)}


def model_digests(models: Models) -> dict[str, str]:
    """Return the sha256 of each model's weights, {name: hexadecimal digits}."""
    models = local(models)
    paths = {
        "unet": part_of(models.base, "unet"),
        "text_encoder": part_of(models.base, "text_encoder"),
        "vae": models.vae or part_of(models.base, "vae"),
        "image_encoder": models.image_encoder,
        "ip_adapter": models.ip_adapter,
        "start_from": models.start_from,
    }
    return {name: weights_digest(path) for name, path in paths.items() if path is not None}


@lru_cache
def weights_digest(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's .safetensors files in the order of their names."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        add_file(digest, file)
    return digest.hexdigest()
