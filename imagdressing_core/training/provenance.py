"""Where an output comes from: version, command, date, and digests of the weights that it was made with."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..command_line import add_file, made_by
from .config import Models
from .hub import weights_of


def provenance(models: Models) -> dict[str, Any]:
    """Return {"version", "command", "date", "weights"}."""
    return made_by() | {"weights": model_digests(models)}


def model_digests(models: Models) -> dict[str, str]:
    """Return the sha256 of each model's weights, {name: hexadecimal digits}."""
    return {name: weights_digest(path) for name, path in weights_of(models).items()}


@lru_cache
def weights_digest(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's .safetensors files in the order of their names."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        add_file(digest, file)
    return digest.hexdigest()
