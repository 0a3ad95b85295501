"""The cache: it replaces VAE and CLIP, belongs to its settings, and knows an image by its content."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.children import PATH
from support.training_set import config, drawn_image, write_folder, write_toml
from torch.utils.data import default_collate

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.cache import build_cache, open_cache, prepare_cache
from imagdressing_core.training.config import Dropout, read_config
from imagdressing_core.training.data import whole_pairs
from imagdressing_core.training.model import encoded, load_models
from imagdressing_core.training.samples import SampleMaker
from imagdressing_core.training.trainer import Trainer, train


def test_a_cache_stands_in_for_vae_and_clip(models: Path, pairs: Path, tmp_path: Path):
    data = {"cache": str(tmp_path / "cache")}
    toml = write_toml(config(models, pairs, tmp_path / "out", data=data), tmp_path / "config.toml")
    with pytest.raises(IMAGDressingError, match=r"settings\.json cannot be read.*Make the cache"):
        train(read_config(toml))
    said: list[str] = []
    prepare_cache(read_config(toml), said.append)
    assert said == [f"Process 0: 16 images added to {tmp_path / 'cache'}."]
    trainer = Trainer(read_config(toml))
    assert trainer.frozen.image_encoder is None
    trainer.run()
    other = write_toml(config(models, pairs, tmp_path / "out", data=data | {"height": 48}), tmp_path / "other.toml")
    with pytest.raises(IMAGDressingError, match="was made with height 40, this run has 48"):
        open_cache(read_config(other))
    settings = json.loads((tmp_path / "cache" / "settings.json").read_text())
    assert settings["made"]["version"] and len(settings["vae"]) == len(settings["image_encoder"]) == 64
    next((tmp_path / "cache" / "person").rglob("*.safetensors")).unlink()
    with pytest.raises(IMAGDressingError, match=r"line \d+: .*person\d\.png is not in the cache"):
        train(read_config(write_toml(config(models, pairs, tmp_path / "new", data=data), tmp_path / "again.toml")))


def test_clip_sees_zeros_of_a_dropped_image_with_a_cache_or_without(models: Path, pairs: Path, tmp_path: Path):
    toml = write_toml(config(models, pairs, tmp_path / "out", data={"cache": str(tmp_path / "cache")}), tmp_path / "c")
    read = read_config(toml)
    prepare_cache(read, print)
    frozen, _ = load_models(read.models)
    pair, dropout = whole_pairs(read.data)[0], Dropout(image=1, text=0, both=0)
    seen, cached = (
        default_collate([SampleMaker(read.data, dropout, (4, 20, 16), 5, cache).sample(pair, 3)])
        for cache in (None, open_cache(read))
    )
    assert not seen["clip"].any()
    torch.testing.assert_close(cached["clip"], encoded(seen, frozen).clip_hidden, rtol=0, atol=2e-3)  # saved in fp16


def test_processes_share_the_images_out(models: Path, pairs: Path, tmp_path: Path):
    toml = write_toml(config(models, pairs, tmp_path / "out", data={"cache": str(tmp_path / "cache")}), tmp_path / "c")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "imagdressing_core.training", "cache", str(toml)]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATH, "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    said = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert sorted(said.splitlines()) == [f"Process {i}: 8 images added to {tmp_path / 'cache'}." for i in (0, 1)]
    assert len(list((tmp_path / "cache").rglob("*/*/*.safetensors"))) == 16


def test_a_cache_knows_an_image_by_its_content(models: Path, tmp_path: Path):
    data = write_folder(tmp_path / "data", 3)
    plain = config(models, data, tmp_path / "out", data={"cache": str(tmp_path / "cache")})
    read = read_config(write_toml(plain, tmp_path / "config.toml"))

    def added(where: Path) -> list[str]:
        return list(build_cache(replace(read, data=replace(read.data, path=str(where))), print))

    assert len(added(data)) == 6
    data.rename(tmp_path / "moved")
    assert added(tmp_path / "moved") == []
    drawn_image(77, (64, 80)).save(tmp_path / "moved" / "garment1.png")
    assert added(tmp_path / "moved") == [str(tmp_path / "moved" / "garment1.png")]
