"""Whole runs of the trainer: what they change, on how many processes, and how they go on after a stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.children import free_port
from support.training_set import config, forget_accelerate, write_folder, write_shard, write_toml
from torch import Tensor

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training import state
from imagdressing_core.training.config import read_config
from imagdressing_core.training.export import export
from imagdressing_core.training.state import newest_state, require_state, whole_states
from imagdressing_core.training.tiny_models import tiny_unet
from imagdressing_core.training.trainer import Trainer, train

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "imagdressing_core.training", "train"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}

ONE_PROCESS = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"}


def weights(output: Path, name: str = "model.safetensors") -> dict[str, Tensor]:
    return load_file(require_state(output) / name)


def differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def run(toml: Path) -> None:
    train(read_config(toml))
    forget_accelerate()


def run_apart(toml: Path) -> None:
    """Train in a process of its own, as it is done in earnest."""
    subprocess.run([*COMMAND, str(toml)], check=True, env=ENVIRONMENT, capture_output=True)


def test_a_run_trains_all_parts_and_changes_nothing_else(models: Path, pairs: Path, tmp_path: Path):
    toml = write_toml(config(models, pairs, tmp_path / "out"), tmp_path / "config.toml")
    trainer = Trainer(read_config(toml))
    frozen = [trainer.frozen.unet, trainer.frozen.vae, trainer.frozen.text_encoder, trainer.frozen.image_encoder]
    before = [{name: one.clone() for name, one in model.state_dict().items()} for model in frozen]
    start = {name: one.clone() for name, one in trainer.garment.state_dict().items()}
    trained = {name for name, one in trainer.garment.named_parameters() if one.requires_grad}
    trainer.run()
    for model, saved in zip(frozen, before, strict=True):
        assert differ(dict(model.state_dict()), saved) == []
    assert set(differ(dict(trainer.garment.state_dict()), start)) == trained
    assert {name.split(".")[0] for name in trained} == {"ref_unet", "proj", "adapter_modules"}


def test_a_run_starts_as_the_official_one(models: Path, pairs: Path, tmp_path: Path):
    projection = {f"image_proj.{name}": one + 1 for name, one in _qformer_weights(models, pairs, tmp_path).items()}
    torch.save({"image_proj": {k.removeprefix("image_proj."): v for k, v in projection.items()}, "ip_adapter": {}},
               tmp_path / "ip-adapter.bin")  # fmt: skip
    sections = {"models": {"ip_adapter": str(tmp_path / "ip-adapter.bin")}}
    trainer = Trainer(read_config(write_toml(config(models, pairs, tmp_path / "o", **sections), tmp_path / "c.toml")))
    unet = tiny_unet().from_pretrained(str(models / "unet")).state_dict()
    assert differ(dict(trainer.garment.ref_unet.state_dict()), dict(unet)) == []
    for name, one in trainer.garment.proj.state_dict().items():
        assert torch.equal(one, projection[f"image_proj.{name}"])
    block = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    for kind in ("k", "v"):
        ours = trainer.garment.adapter_modules.get_parameter(f"4.to_{kind}_ref.weight")
        assert torch.equal(ours, unet[f"{block}.to_{kind}.weight"])


def _qformer_weights(models: Path, pairs: Path, tmp_path: Path) -> dict[str, Tensor]:
    trainer = Trainer(read_config(write_toml(config(models, pairs, tmp_path / "o"), tmp_path / "c.toml")))
    return dict(trainer.garment.proj.state_dict())


def test_two_processes_reach_the_weights_of_one_with_the_doubled_batch(models: Path, pairs: Path, tmp_path: Path):
    one, two = (
        write_toml(
            config(models, pairs, tmp_path / name, run={"batch": batch, "ema_decay": 0.9}), tmp_path / f"{name}.toml"
        )
        for name, batch in (("one", 4), ("two", 2))
    )
    run(one)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    environment = ENVIRONMENT | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([*launch, *COMMAND[1:], str(two)], check=True, env=environment, capture_output=True)
    assert json.loads((require_state(tmp_path / "two") / state.PROGRESS_FILE).read_text())["share"] == 4
    start = Trainer(read_config(one)).garment.state_dict()
    for name in ("model.safetensors", "ema.safetensors"):
        a, b = weights(tmp_path / "one", name), weights(tmp_path / "two", name)
        moved = sum(float((a[key] - start[key]).square().sum()) for key in a) ** 0.5
        apart = sum(float((a[key] - b[key]).square().sum()) for key in a) ** 0.5
        assert moved > 0.01
        assert apart < 1e-4 * moved


def test_zero_2_on_two_processes_and_resumed_reaches_the_weights_of_one(models: Path, pairs: Path, tmp_path: Path):
    one = write_toml(config(models, pairs, tmp_path / "one", run={"batch": 4}), tmp_path / "one.toml")
    script = str(Path(__file__).with_name("zero_2_on_cpus.py"))
    run_apart(one)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    for steps in (2, 4):
        toml = write_toml(config(models, pairs, tmp_path / "zero", run={"steps": steps}), tmp_path / "zero.toml")
        subprocess.run([*launch, script, str(toml)], check=True, env=ENVIRONMENT, capture_output=True)
    toml = write_toml(config(models, pairs, tmp_path / "zero", run={"batch": 4}), tmp_path / "zero.toml")
    alone = subprocess.run(
        [sys.executable, script, str(toml)], env=ENVIRONMENT | ONE_PROCESS, capture_output=True, text=True, check=False
    )
    assert "saved by 2 processes under DEEPSPEED, this run has 1 under" in alone.stderr
    a, b = (
        load_file(export(require_state(tmp_path / name), tmp_path / f"{name}-out", "fp32")[0])
        for name in ("one", "zero")
    )
    apart = sum(float((a[key] - b[key]).square().sum()) for key in a) ** 0.5
    assert a.keys() == b.keys()
    assert apart < 1e-3


def test_accumulated_batches_are_one_larger_batch(models: Path, pairs: Path, tmp_path: Path):
    for name, entries in (("large", {"batch": 4}), ("small", {"batch": 1, "accumulation": 4})):
        run(write_toml(config(models, pairs, tmp_path / name, run=entries), tmp_path / f"{name}.toml"))
    a, b = weights(tmp_path / "large"), weights(tmp_path / "small")
    apart = sum(float((a[key] - b[key]).square().sum()) for key in a) ** 0.5
    assert apart < 1e-3


def test_averaged_weights_off_the_device_are_the_same(models: Path, pairs: Path, tmp_path: Path):
    for name, entries in (("on", {}), ("off", {"ema_offload": True})):
        entries = {"steps": 2, "ema_decay": 0.9} | entries
        run(write_toml(config(models, pairs, tmp_path / name, run=entries), tmp_path / f"{name}.toml"))
    on, off = (load_file(require_state(tmp_path / name) / "ema.safetensors") for name in ("on", "off"))
    assert differ(on, off) == []


def test_half_precision_takes_the_same_way(models: Path, pairs: Path, tmp_path: Path):
    for precision in ("no", "bf16"):
        entries = {"precision": precision, "gradient_checkpointing": precision == "bf16"}
        run(write_toml(config(models, pairs, tmp_path / precision, run=entries), tmp_path / f"{precision}.toml"))
    full, half = weights(tmp_path / "no"), weights(tmp_path / "bf16")
    start = Trainer(read_config(tmp_path / "no.toml")).garment.state_dict()
    assert {one.dtype for one in half.values()} == {torch.float32}  # what is trained keeps its precision

    def dot(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        return sum(float(((a[key] - start[key]) * (b[key] - start[key])).sum()) for key in start)

    assert dot(full, half) > 0.9 * (dot(full, full) * dot(half, half)) ** 0.5  # the cosine of their ways


def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(models: Path, pairs: Path, tmp_path: Path):
    entries = {"steps": 8, "save_every": 1, "ema_decay": 0.9}
    whole, killed = (
        write_toml(config(models, pairs, tmp_path / name, run=entries), tmp_path / f"{name}.toml")
        for name in ("whole", "killed")
    )
    run_apart(whole)
    process = subprocess.Popen(
        [*COMMAND, str(killed)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while len(whole_states(tmp_path / "killed")) < 2:
        assert process.poll() is None, process.stdout.read().decode() if process.stdout else ""
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert newest_state(tmp_path / "killed") != newest_state(tmp_path / "whole")
    # As if killed in the middle of the next save.
    cut = tmp_path / "killed" / state.FOLDER / ".step-00000007.unfinished"
    cut.mkdir(exist_ok=True)
    (cut / "model.safetensors").write_bytes(b"half")
    run_apart(killed)
    for name in ("model.safetensors", "ema.safetensors"):
        assert differ(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name)) == []
    assert not cut.exists()
    assert len(whole_states(tmp_path / "killed")) == 3  # run.keep


def test_a_resumed_run_of_shards_sees_the_samples_it_would_have_seen(models: Path, pairs: Path, tmp_path: Path):
    for shard in range(3):
        write_shard(tmp_path / f"{shard}.tar", pairs, [(4 * shard + i) % 8 for i in range(4)])
    data = {"format": "shards", "path": str(tmp_path / "*.tar"), "workers": 2}
    toml = {
        name: write_toml(config(models, pairs, tmp_path / name, data=data, run={"steps": 7}), tmp_path / f"{name}.toml")
        for name in ("whole", "stopped")
    }
    run(toml["whole"])
    shorter = config(models, pairs, tmp_path / "stopped", data=data, run={"steps": 3, "save_every": 3})
    run(write_toml(shorter, tmp_path / "shorter.toml"))
    run(toml["stopped"])
    assert differ(weights(tmp_path / "whole"), weights(tmp_path / "stopped")) == []


def test_validation_has_its_loss_and_images_and_disturbs_nothing(models: Path, pairs: Path, tmp_path: Path):
    for name, sections in {
        "plain": {},
        "validated": {"validation": {"path": str(pairs), "every": 2, "pairs": 3, "pictures": 2, "steps": 2}},
    }.items():
        sections = sections | {"run": {"ema_decay": 0.9, "trackers": ["tensorboard"]}}
        run(write_toml(config(models, pairs, tmp_path / name, **sections), tmp_path / f"{name}.toml"))
    assert differ(weights(tmp_path / "plain"), weights(tmp_path / "validated")) == []
    lines = [json.loads(line) for line in (tmp_path / "validated" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation_loss" in line] == [2, 4]
    assert Image.open(tmp_path / "validated" / "validation" / "step-00000004.png").size == (3 * 32, 2 * 40)
    assert list((tmp_path / "validated").rglob("events.out.tfevents.*"))


def test_a_full_disk_stops_no_run_and_costs_no_state(
    models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    toml = write_toml(config(models, pairs, tmp_path / "out", run={"steps": 6}), tmp_path / "config.toml")
    trainer = Trainer(read_config(toml))
    usage = state.shutil.disk_usage

    def full(path: Path) -> Any:
        return SimpleNamespace(free=1_000_000) if trainer.step >= 4 else usage(path)

    monkeypatch.setattr(state.shutil, "disk_usage", full)
    with pytest.raises(
        IMAGDressingError, match=r"step 6 could not be saved.*0\.00 GB free.*newest whole one is step-00000002"
    ):
        trainer.run()
    assert "step 4 could not be saved" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out" / state.FOLDER).iterdir()] == ["step-00000002"]


def test_a_log_that_cannot_be_written_is_said_once_and_stops_no_run(
    models: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "out/metrics.jsonl").mkdir(parents=True)  # what no line can be added to, as on a full disk
    (tmp_path / "out/validation").touch()
    sections = {"validation": {"path": str(pairs), "every": 2, "pairs": 3, "pictures": 1, "steps": 2}}
    assert train(read_config(write_toml(config(models, pairs, tmp_path / "out", **sections), tmp_path / "config.toml")))
    said = capsys.readouterr().out
    assert said.count("metrics.jsonl cannot be written (") == 1 and said.count("training continues") == 2
    assert require_state(tmp_path / "out").name == "step-00000004"


def test_a_save_that_breaks_off_leaves_the_states_before_it(
    models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    toml = write_toml(config(models, pairs, tmp_path / "out", run={"save_every": 3}), tmp_path / "config.toml")
    trainer = Trainer(read_config(toml))
    save = trainer.accelerator.save_state

    def break_off(folder: str) -> None:
        save(folder)
        if trainer.step == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.accelerator, "save_state", break_off)
    with pytest.raises(IMAGDressingError, match="No space left on device"):
        trainer.run()
    assert [path.name for path in (tmp_path / "out" / state.FOLDER).iterdir()] == ["step-00000003"]


def test_a_state_of_another_architecture_is_refused(models: Path, pairs: Path, tmp_path: Path):
    train(read_config(write_toml(config(models, pairs, tmp_path / "out"), tmp_path / "config.toml")))
    folder = require_state(tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    from safetensors.torch import save_file

    save_file(tensors | {"proj.latents": torch.zeros(1, 8, 32)}, folder / "model.safetensors")
    longer = config(models, pairs, tmp_path / "out", run={"steps": 6})
    with pytest.raises(IMAGDressingError, match=r"cannot resume from .*step-00000004.*proj\.latents"):
        train(read_config(write_toml(longer, tmp_path / "longer.toml")))


def test_a_broken_image_stops_a_run_with_its_entry(models: Path, tmp_path: Path):
    data = write_folder(tmp_path / "data", 4)
    (data / "garment2.png").write_bytes(b"no image")
    toml = write_toml(config(models, data, tmp_path / "out", data={"workers": 1}), tmp_path / "config.toml")
    with pytest.raises(
        IMAGDressingError, match=r"^.*manifest\.jsonl line 3: .*garment2\.png cannot be read as an image"
    ):
        train(read_config(toml))
