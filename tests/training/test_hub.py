"""Models by their names on the hub: what is asked for, and that a run takes it as any local folder."""

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from support.training_set import config, write_toml

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.config import Models, read_config
from imagdressing_core.training.hub import local
from imagdressing_core.training.memory import requirements
from imagdressing_core.training.model import load_models
from imagdressing_core.training.provenance import model_digests


@pytest.fixture
def asked(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The hub has the tiny base as ``tiny/base`` and the image encoder in a folder of ``tiny/adapter``."""
    shutil.copytree(models / "image_encoder", tmp_path / "tiny" / "adapter" / "models" / "image_encoder")
    shutil.copytree(models, tmp_path / "tiny" / "base")
    requests: list[tuple[str, list[str]]] = []

    def download(repository: str, allow_patterns: list[str]) -> str:
        requests.append((repository, allow_patterns))
        if not (tmp_path / repository).is_dir():
            raise OSError("404 Client Error. Repository Not Found")
        return str(tmp_path / repository)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return requests


def test_a_base_of_the_hub_is_that_of_its_folder(asked: Any, models: Path, pairs: Path, tmp_path: Path):
    names = {"base": "hub:tiny/base", "image_encoder": "hub:tiny/adapter/models/image_encoder"}
    named = read_config(write_toml(config(models, pairs, tmp_path / "out", models=names), tmp_path / "named.toml"))
    here = read_config(write_toml(config(models, pairs, tmp_path / "out"), tmp_path / "here.toml"))
    assert model_digests(named.models) == model_digests(here.models)
    assert requirements(named) == requirements(here)
    frozen, _ = load_models(named.models)
    assert frozen.image_encoder is not None
    assert [repository for repository, _ in asked] == ["tiny/base", "tiny/adapter"]
    base, encoder = (patterns for _, patterns in asked)
    assert {"unet/*model.safetensors", "tokenizer/*.txt", "vae/*.json"} < set(base)
    assert "models/image_encoder/*model.safetensors" in encoder


def test_a_name_that_the_hub_does_not_have_is_named(asked: Any):
    with pytest.raises(IMAGDressingError, match=r"hub:tiny/none could not be downloaded: 404 Client Error"):
        local(Models(base=Path("hub:tiny/none"), image_encoder=Path("x")))
    with pytest.raises(IMAGDressingError, match="hub:tiny is no name on the hub: hub:owner/name"):
        local(Models(base=Path("hub:tiny"), image_encoder=Path("x")))
