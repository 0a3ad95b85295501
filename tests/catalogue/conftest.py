"""Tiny models and a manifest of drawn garments, and the command as its users give it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_pipelines
from support.training_set import drawn_image
from typer.testing import CliRunner

from imagdressing_core.catalogue.__main__ import app
from imagdressing_core.training.tiny_models import (
    save_tiny_models,
    tiny_unet,
    tiny_vae,
)

GARMENTS = 6


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As Ray's workers have it: on other numbers of threads a processor adds up in another order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name a tiny Stable Diffusion, a ControlNet and a random checkpoint."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_models(folder)
    vae: Any = tiny_vae((8, 8, 8, 16))  # a ControlNet expects latents of an eighth
    vae.save_pretrained(str(folder / "vae"))
    tiny_pipelines.save_controlnet(folder / "controlnet", tiny_unet())
    tiny_pipelines.save_checkpoint(folder / "checkpoint.safetensors")
    options = {"base": folder, "checkpoint": folder / "checkpoint.safetensors"}
    options |= {"image-encoder": folder / "image_encoder", "controlnet": folder / "controlnet"}
    return [text for name, path in options.items() for text in (f"--{name}", str(path))]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six garments with two prompts each."""
    for i in range(GARMENTS):
        drawn_image(i, (60, 80)).save(tmp_path / f"garment{i}.png")
    rows = [f"garment{i}.png,{who},{i}" for i in range(GARMENTS) for who in ("a woman", "a man")]
    (tmp_path / "manifest.csv").write_text("garment,prompt,seed\n" + "\n".join(rows) + "\n")
    return tmp_path / "manifest.csv"


Command = Callable[..., Any]


@pytest.fixture
def command(models: list[str]) -> Command:
    """Run the command: ``command(manifest, out, "--option", value …)``."""

    def run(manifest: Path, out: Path, *options: object) -> Any:
        small = ["--width", "64", "--height", "64", "--steps", "2"]
        arguments = [str(manifest), "--out", str(out), *models, *small, *map(str, options)]
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return run


def images(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "images").glob("*.png")}
