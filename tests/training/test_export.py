"""What comes out of a run: files that the nodes' own loader takes as they are, and a card."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.training_set import config, write_toml

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import expected_shapes, read_checkpoint
from imagdressing_core.on_diffusers.pipeline import load_pipeline
from imagdressing_core.training.__main__ import app
from imagdressing_core.training.config import read_config
from imagdressing_core.training.export import export
from imagdressing_core.training.state import require_state
from imagdressing_core.training.trainer import Trainer, train


@pytest.fixture(scope="module")
def run(models: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(read_config(write_toml(config(models, pairs, folder, run={"ema_decay": 0.9}), folder / "config.toml")))
    return folder


def test_averaged_and_last_weights_are_exported_under_the_official_keys(run: Path, tmp_path: Path):
    state = require_state(run)
    for averaged, name in ((True, "ema.safetensors"), (False, "model.safetensors")):
        safetensors, official, _ = export(state, tmp_path / "mine", "fp32", averaged)
        expected = load_file(state / name)
        assert {key.split(".")[0] for key in expected} == {"ref_unet", "proj", "adapter_modules"}
        for found in (load_file(safetensors), torch.load(official, weights_only=True)["module"]):
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_card_says_what_the_weights_are(run: Path, tmp_path: Path):
    card = export(require_state(run), tmp_path / "mine")[2].read_text()
    assert "after 4 steps of 2 samples: averaged (EMA) weights" in card
    assert "ComfyUI's nodes reject these weights" in card
    assert '"learning_rate": 0.001' in card
    assert "library_name" not in card  # no library loads these files
    progress = json.loads((require_state(run) / "progress.json").read_text())
    for part in (progress["version"], progress["command"], progress["date"], *progress["weights"].values()):
        assert part in card


def test_exported_files_say_what_made_them(run: Path, tmp_path: Path):
    from safetensors import safe_open

    with safe_open(export(require_state(run), tmp_path / "mine")[0], framework="pt") as file:
        made = json.loads(file.metadata()["imagdressing.made"])
    progress = json.loads((require_state(run) / "progress.json").read_text())
    assert made["trained"] == {name: progress[name] for name in ("version", "command", "weights")}
    assert set(made["exported"]) == {"version", "command", "date"}


def test_narrow_weights_run_and_continue_as_the_card_says(run: Path, models: Path, pairs: Path, tmp_path: Path):
    state = require_state(run)
    checkpoint = export(state, tmp_path / "mine", "fp32")[0]
    pipeline = load_pipeline(models, checkpoint, models / "image_encoder")
    garment = pipeline.encode_garments([Image.new("RGB", (30, 40), "navy")], width=32, height=40)
    (image,) = pipeline(garment, ["a"], width=32, height=40, steps=1)
    assert image.size == (32, 40)
    further = config(models, pairs, tmp_path / "further", models={"start_from": str(checkpoint)})
    trainer = Trainer(read_config(write_toml(further, tmp_path / "further.toml")))
    expected = load_file(state / "ema.safetensors")
    assert all(torch.equal(one, expected[name]) for name, one in trainer.garment.state_dict().items())
    save_file({"proj.latents": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(IMAGDressingError, match=r"other\.safetensors does not fit these models: \d+ "):
        load_pipeline(models, tmp_path / "other.safetensors", models / "image_encoder")


def test_exported_files_have_ordinary_permissions(run: Path, tmp_path: Path):
    before = os.umask(0o027)
    try:
        written = export(require_state(run), tmp_path / "mine")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o640] * 3


def test_a_state_of_full_width_loads_in_the_nodes_as_it_is(run: Path, tmp_path: Path):
    """Writes and reads 1.8 GB twice."""
    full = {
        key: torch.full(shape, i % 7 / 8, dtype=torch.float16)
        for i, (key, shape) in enumerate(expected_shapes().items())
    }
    state = tmp_path / "step-00000001"
    state.mkdir()
    save_file(full, state / "model.safetensors")
    (state / "progress.json").write_text((require_state(run) / "progress.json").read_text())
    safetensors, official, card = export(state, tmp_path / "mine")
    for path, variant in ((safetensors, "safetensors"), (official, "official")):
        checkpoint = read_checkpoint(path)
        assert checkpoint.variant == variant
        assert all(torch.equal(one, full[key]) for key, one in checkpoint.tensors.items())
        path.unlink()
    assert "choose it in *Load IMAGDressing Model*" in card.read_text()


def test_a_full_disk_leaves_no_half_file(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(IMAGDressingError, match="No space left on device"):
        export(require_state(run), tmp_path / "mine")
    monkeypatch.undo()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(IMAGDressingError, match=r"Could not write .*mine\.pt"):
        export(require_state(run), tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_what_is_no_state_is_said(run: Path, tmp_path: Path):
    with pytest.raises(IMAGDressingError, match="is not the whole state of a run"):
        export(tmp_path, tmp_path / "mine")
    (tmp_path / "progress.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(IMAGDressingError, match=r"has none of model\.safetensors"):
        export(tmp_path, tmp_path / "mine")


def test_the_command_line_checks_and_exports(models: Path, pairs: Path, run: Path, tmp_path: Path):
    from typer.testing import CliRunner

    shell = CliRunner()
    toml = write_toml(config(models, pairs, tmp_path / "out"), tmp_path / "config.toml")
    whole = shell.invoke(app, ["check", str(toml)])
    assert whole.exit_code == 0
    assert "million parameters are trained. Memory of each process, estimated:" in whole.output
    assert whole.output.endswith("All entries are whole.\n")
    exported = shell.invoke(app, ["export", str(run), str(tmp_path / "mine"), "--dtype", "bf16", "--no-averaged"])
    assert exported.exit_code == 0
    assert load_file(tmp_path / "mine.safetensors")["proj.latents"].dtype == torch.bfloat16
