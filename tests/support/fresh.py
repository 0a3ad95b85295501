"""A base directory as new as after ComfyUI's installation, and this repository as its users get it."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from support.comfyui_release import BASE, PACK_NAME, REPOSITORY
from support.comfyui_server import ComfyUIServer


def base(folder: Path) -> Path:
    """Return ``folder`` as a base directory for ComfyUI that holds nothing yet."""
    for name in ("custom_nodes", "models", "input", "output", "user"):
        (folder / name).mkdir(parents=True)
    return folder


def with_synthetic_models(base: Path) -> Path:
    """Put the synthetic models into a fresh ``base``."""
    (base / "models").rmdir()
    (base / "models").symlink_to(BASE / "models", target_is_directory=True)
    return base


def clone(base: Path, name: str = PACK_NAME) -> Path:
    """Clone this repository at HEAD into ``custom_nodes``, as the README says; return its folder."""
    folder = base / "custom_nodes" / name
    subprocess.run(["git", "clone", "--quiet", f"file://{REPOSITORY}", str(folder)], check=True)
    return folder


def content(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file below ``folder`` by its path, without Python's own caches."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def pack_nodes(server: ComfyUIServer, folder_name: str = PACK_NAME) -> dict[str, Any]:
    """Return the definitions of the nodes that ComfyUI took from that folder of ``custom_nodes``, by id."""
    definitions = server.get("/object_info")
    return {key: info for key, info in definitions.items() if info["python_module"] == f"custom_nodes.{folder_name}"}
