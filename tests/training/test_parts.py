"""Training a part of the model: some parts alone, or a LoRA on the garment U-Net, which the export merges."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from safetensors.torch import load_file
from support import tiny_pipelines
from support.training_set import config, forget_accelerate, write_toml
from torch import Tensor

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import expected_shapes
from imagdressing_core.on_diffusers.loading import load_trained
from imagdressing_core.on_diffusers.unet import garment_model
from imagdressing_core.training.config import Optimiser, read_config
from imagdressing_core.training.export import export
from imagdressing_core.training.memory import requirements
from imagdressing_core.training.model import choose_parts, freeze_unread, merge_lora
from imagdressing_core.training.state import require_state
from imagdressing_core.training.tiny_models import CLIP_CHANNELS, tiny_unet
from imagdressing_core.training.trainer import Trainer


def start(plain: dict[str, Any], folder: Path) -> Trainer:
    forget_accelerate()
    return Trainer(read_config(write_toml(plain, folder / "config.toml")))


def moved(trainer: Trainer) -> set[str]:
    """Run a training and return the names of the weights that changed."""
    before = {name: one.clone() for name, one in trainer.garment.state_dict().items()}
    trainer.run()
    return {name for name, one in trainer.garment.state_dict().items() if not torch.equal(one, before[name])}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(["projections"], {"adapter_modules"}), (["projections", "qformer"], {"adapter_modules", "proj"})],
)
def test_parts_that_are_not_chosen_keep_their_weights(
    models: Path, pairs: Path, tmp_path: Path, parts: list[str], expected: set[str]
):
    plain = config(models, pairs, tmp_path / "out", run={"steps": 2}, optimiser={"parts": parts})
    assert {name.split(".")[0] for name in moved(start(plain, tmp_path))} == expected


def lora_config(models: Path, pairs: Path, output: Path, steps: int = 4, run: Any = None) -> dict[str, Any]:
    first = output.parent / "start.safetensors"
    if not first.exists():
        tiny_pipelines.save_checkpoint(first)
    names = {"start_from": str(first)}
    optimiser = {"lora_rank": 2, "learning_rate": 0.01}
    return config(models, pairs, output, models=names, optimiser=optimiser, run={"steps": steps} | (run or {}))


@pytest.mark.parametrize("averaged", [False, True])
def test_an_exported_lora_is_an_ordinary_checkpoint_with_the_same_garments(
    models: Path, pairs: Path, tmp_path: Path, averaged: bool
):
    run = {"ema_decay": 0.5} if averaged else {}
    trainer = start(lora_config(models, pairs, tmp_path / "out", run=run), tmp_path)
    changed = moved(trainer)
    assert {name.split(".")[0] for name in changed} == {"adapter_modules", "proj", "ref_unet"}
    assert all(".lora_" in name for name in changed if name.startswith("ref_unet."))
    exported = export(require_state(tmp_path / "out"), tmp_path / "mine", "fp32", averaged)[0]
    before, after = load_file(tmp_path / "start.safetensors"), load_file(exported)
    assert {key: one.shape for key, one in after.items()} == {key: one.shape for key, one in before.items()}
    merged = garment_model(tiny_unet(), CLIP_CHANNELS)
    load_trained(merged, exported)
    if averaged:
        trainer.ema.copy_to(trainer.garment.parameters())
    assert _largest_difference(merged, trainer.garment) < 1e-5
    load_trained(merged, tmp_path / "start.safetensors")
    assert _largest_difference(merged, trainer.garment) > 1e-3


@torch.no_grad()
def _largest_difference(one: Any, other: Any) -> float:
    torch.manual_seed(1)
    latent, clip = torch.randn(1, 4, 20, 16), torch.randn(1, 17, CLIP_CHANNELS)
    found, expected = one(latent, clip), other(latent, clip)

    def apart(a: Tensor, b: Tensor) -> float:
        return float((a - b).abs().max())

    return max(max(apart(found[i].k, expected[i].k), apart(found[i].v, expected[i].v)) for i in found)


def test_a_lora_of_sd15s_width_merges_into_the_tensors_that_the_node_loads():
    with torch.device("meta"):
        garment = garment_model(UNet2DConditionModel(cross_attention_dim=768), clip_channels=1280)
        freeze_unread(garment)
        choose_parts(garment, Optimiser(lora_rank=16))
    trained = garment.state_dict()
    assert {key: tuple(one.shape) for key, one in trained.items()} != expected_shapes()
    assert {key: tuple(one.shape) for key, one in merge_lora(trained).items()} == expected_shapes()


def test_a_lora_that_was_stopped_reaches_the_weights_of_one_that_was_not(models: Path, pairs: Path, tmp_path: Path):
    for name, steps in (("whole", (4,)), ("stopped", (2, 4))):
        for count in steps:
            trainer = start(lora_config(models, pairs, tmp_path / name, count), tmp_path)
            trainer.resume()
            trainer.run()
    whole, stopped = (load_file(require_state(tmp_path / name) / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one, stopped[key]) for key, one in whole.items())
    plain = lora_config(models, pairs, tmp_path / "stopped", 6)
    plain["optimiser"]["lora_rank"] = 3
    with pytest.raises(IMAGDressingError, match=r"cannot change optimiser\.lora_rank \(the optimiser's state is of"):
        start(plain, tmp_path).resume()


def test_a_lora_needs_a_small_part_of_the_memory(models: Path, pairs: Path, tmp_path: Path):
    lora, whole = (
        requirements(read_config(write_toml(plain, tmp_path / "config.toml")))
        for plain in (lora_config(models, pairs, tmp_path / "out"), config(models, pairs, tmp_path / "out"))
    )
    assert lora.trained < whole.trained / 2
    assert lora.nbytes["AdamW"] == 8 * lora.trained


def test_a_lora_without_its_package_or_its_part_is_refused(
    models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = lora_config(models, pairs, tmp_path / "out")
    plain["optimiser"]["parts"] = ["projections"]
    with pytest.raises(IMAGDressingError, match="lora_rank is of the garment U-Net, which is not among parts"):
        read_config(write_toml(plain, tmp_path / "config.toml"))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(IMAGDressingError, match=r"A LoRA needs .*training-lora"):
        start(lora_config(models, pairs, tmp_path / "out"), tmp_path)
