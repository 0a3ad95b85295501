"""Files renamed after a workflow was saved, folders that cannot be written: what a user reads in ComfyUI's dialog."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import fresh
from support.comfyui_release import BASE, link_pack
from support.comfyui_server import ComfyUIServer, Prompt, serving
from support.rights import WITHOUT_ROOTS_RIGHTS

from imagdressing_core.files.garment_file import save_garment
from imagdressing_core.files.official_files import GARMENT
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a checkpoint and a garment."""
    models = fresh.base(tmp_path_factory.mktemp("base")) / "models"
    (models / GARMENT.folder).mkdir()
    (models / GARMENT.path).symlink_to(BASE / "models" / GARMENT.path)
    (models / "imagdressing_garments").mkdir()
    save_garment(small_garment(), models / "imagdressing_garments" / "shirt.safetensors")
    return models


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[ComfyUIServer]:
    link_pack(models.parent)
    with serving(base=models.parent, prefix=WITHOUT_ROOTS_RIGHTS) as running:
        yield running


def small_garment() -> Garment:
    ones = {layer.index: torch.ones(1, 4, layer.channels) for layer in LAYERS}
    return Garment(
        (
            GarmentImage(
                {index: LayerKV(one, one) for index, one in ones.items()}, Origin("a.pt", "", "official", 512, 640)
            ),
        )
    )


def load_and_save(name: str, prefix: str = "again") -> Prompt:
    return {
        "load": {"class_type": "IMAGDressingLoadGarment", "inputs": {"garment_name": name}},
        "save": {
            "class_type": "IMAGDressingSaveGarment",
            "inputs": {"garment": ["load", 0], "filename_prefix": prefix},
        },
    }


def convert(name: str) -> Prompt:
    return {"convert": {"class_type": "IMAGDressingConvertCheckpoint", "inputs": {"model_name": name, "dtype": "fp16"}}}


def refusal(server: ComfyUIServer, prompt: Prompt) -> str:
    error = server.run(prompt).error
    assert error is not None
    return error


def test_a_renamed_garment_is_named_with_what_is_there_instead(server: ComfyUIServer, models: Path):
    folder = models / "imagdressing_garments"
    assert server.run(load_and_save("shirt.safetensors")).error is None
    (folder / "shirt.safetensors").rename(folder / "summer_shirt.safetensors")
    error = refusal(server, load_and_save("shirt.safetensors"))
    (folder / "summer_shirt.safetensors").rename(folder / "shirt.safetensors")
    assert "No saved garment named 'shirt.safetensors'" in error
    assert str(folder) in error
    assert "summer_shirt.safetensors" in error
    assert server.run(load_and_save("shirt.safetensors")).error is None


def test_a_checkpoint_moved_into_a_subfolder_is_named_with_its_new_place(server: ComfyUIServer, models: Path):
    folder = models / GARMENT.folder
    (folder / "old").mkdir()
    (folder / GARMENT.name).rename(folder / "old" / GARMENT.name)
    error = refusal(server, convert(GARMENT.name))
    (folder / "old" / GARMENT.name).rename(folder / GARMENT.name)
    (folder / "old").rmdir()
    assert f"No IMAGDressing checkpoint named '{GARMENT.name}'" in error
    assert f"old/{GARMENT.name}" in error


def test_save_garment_says_that_its_folder_cannot_be_written(server: ComfyUIServer, models: Path):
    folder = models / "imagdressing_garments"
    held = sorted(folder.iterdir())
    folder.chmod(0o555)
    error = refusal(server, load_and_save("shirt.safetensors", "other"))
    folder.chmod(0o755)
    assert f"Could not write {folder}" in error
    assert "Check that the folder can be written to" in error
    assert sorted(folder.iterdir()) == held


def test_save_garment_says_that_a_subfolder_cannot_be_made(server: ComfyUIServer, models: Path):
    folder = models / "imagdressing_garments"
    folder.chmod(0o555)
    error = refusal(server, load_and_save("shirt.safetensors", "summer/shirt"))
    folder.chmod(0o755)
    assert str(folder) in error
    assert "check that the folder can be written to" in error


def test_convert_checkpoint_says_that_its_folder_cannot_be_written(server: ComfyUIServer, models: Path):
    folder = models / GARMENT.folder
    folder.chmod(0o555)
    error = refusal(server, convert(GARMENT.name))
    folder.chmod(0o755)
    assert f"Could not write {folder}" in error
    assert "Check that the folder can be written to" in error
    assert [path.name for path in folder.iterdir()] == [GARMENT.name]
