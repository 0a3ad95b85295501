"""What a resumed run takes over, what it refuses, and that its records say what ran."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.children import free_port
from support.training_set import config, forget_accelerate, write_folder, write_toml

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.agreement import require_same
from imagdressing_core.training.config import read_config
from imagdressing_core.training.export import export
from imagdressing_core.training.resume import changes, require_allowed, require_resumable
from imagdressing_core.training.state import PROGRESS_FILE, delete_old_states, require_state, whole_states
from imagdressing_core.training.tiny_models import save_tiny_models
from imagdressing_core.training.trainer import Trainer, train

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}


def start(plain: dict[str, Any], folder: Path) -> Trainer:
    forget_accelerate()
    return Trainer(read_config(write_toml(plain, folder / "config.toml")))


def changed_entries(trainer: Trainer) -> list[str]:
    return [name for change in trainer.history for name in change["changed"]]


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def saved(models: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a run of two steps with a learning rate of 0.001."""
    folder = tmp_path_factory.mktemp("saved")
    start(config(models, pairs, folder / "out", run={"steps": 2}), folder).run()
    return folder / "out"


@pytest.fixture
def output(saved: Path, tmp_path: Path) -> Path:
    import shutil

    return shutil.copytree(saved, tmp_path / "out")


def test_a_changed_learning_rate_is_taken_said_and_recorded(
    models: Path, pairs: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    changed = config(models, pairs, output, run={"steps": 3}, optimiser={"learning_rate": 0.05, "weight_decay": 0.2})
    trainer = start(changed, tmp_path)
    trainer.resume()
    assert [(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups] == [(0.05, 0.2)]
    trainer.run()
    assert [line["learning_rate"] for line in lines(output) if "loss" in line] == [0.0005, 0.001, 0.05]
    assert "optimiser.learning_rate was 0.001 until step 2 and is now 0.05" in capsys.readouterr().out
    state = require_state(output)
    progress = json.loads((state / PROGRESS_FILE).read_text())
    (change,) = progress["history"]
    assert change["step"] == 2
    assert change["changed"]["optimiser.learning_rate"] == [0.001, 0.05]
    card = export(state, tmp_path / "mine")[2].read_text()
    assert "at step 2: " in card and "optimiser.learning_rate was 0.001 and became 0.05" in card


def test_a_run_that_only_moved_resumes_with_that_change_alone(
    models: Path, pairs: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trainer = start(config(models, pairs, output, run={"steps": 2}), tmp_path)
    trainer.resume()
    assert (trainer.step, changed_entries(trainer)) == (2, ["run.output"])
    assert "Resuming from step 2" in capsys.readouterr().out


def test_other_models_are_refused_wherever_they_lie(models: Path, pairs: Path, output: Path, tmp_path: Path):
    import shutil

    shutil.copytree(models, tmp_path / "moved")
    start(config(tmp_path / "moved", pairs, output, run={"steps": 2}), tmp_path).resume()
    save_tiny_models(tmp_path / "other", seed=1)
    with pytest.raises(IMAGDressingError, match=r"cannot change weights\.unet .*weights\.vae .*models\.start_from"):
        start(config(tmp_path / "other", pairs, output, run={"steps": 2}), tmp_path).resume()


def test_averaged_weights_that_begin_later_begin_with_the_weights_of_that_step(
    models: Path, pairs: Path, output: Path, tmp_path: Path
):
    trainer = start(config(models, pairs, output, run={"steps": 2, "ema_decay": 0.9}), tmp_path)
    trainer.resume()
    expected = load_file(require_state(output) / "model.safetensors")
    for name, one in zip(trainer.names, trainer.ema.shadow_params, strict=True):
        assert torch.equal(one, expected[name])


def test_a_state_that_recorded_less_resumes(models: Path, pairs: Path, output: Path, tmp_path: Path):
    path = require_state(output) / PROGRESS_FILE
    progress = json.loads(path.read_text())
    kept = {name: progress[name] for name in ("step", "share", "schedule", "config")}
    for section, entries in (("data", ("copies", "skip_broken")), ("run", ("milestone_every",))):
        for name in entries:
            del kept["config"][section][name]
    path.write_text(json.dumps(kept))
    trainer = start(config(models, pairs, output, run={"steps": 2}), tmp_path)
    trainer.resume()
    assert (trainer.step, changed_entries(trainer)) == (2, ["run.output"])


def test_changes_are_those_of_every_entry_that_was_recorded():
    before = {"run": {"steps": 2, "old": 1}, "validation": None, "data": {"path": "a"}}
    now = {"run": {"steps": 3, "new": 1}, "validation": {"every": 5}, "data": {"path": "a"}, "pairs": {"count": 3}}
    assert changes(before, now) == {"run.steps": [2, 3], "run.old": [1, None], "validation.every": [None, 5]}
    require_allowed(changes(before, now))
    with pytest.raises(IMAGDressingError, match=r"cannot change optimiser\.eight_bit \(the optimiser's state"):
        require_allowed({"optimiser.eight_bit": [False, True]})


def test_a_state_of_deepspeed_needs_its_number_of_processes():
    found = {"step": 4, "distributed": {"type": "DEEPSPEED", "processes": 2}}
    require_resumable(found, "DEEPSPEED", 2)
    require_resumable({"step": 4, "distributed": {"type": "MULTI_GPU", "processes": 2}}, "NO", 1)
    for kind, processes in (("DEEPSPEED", 1), ("MULTI_GPU", 2)):
        with pytest.raises(
            IMAGDressingError, match=r"saved by 2 processes under DEEPSPEED.*resume with the same number"
        ):
            require_resumable(found, kind, processes)


def test_milestones_stay(tmp_path: Path):
    for step in (10, 20, 30, 40, 50):
        (tmp_path / "states" / f"step-{step:08d}").mkdir(parents=True)
    delete_old_states(tmp_path, keep=1, milestone_every=20)
    assert [path.name[-2:] for path in whole_states(tmp_path)] == ["20", "40", "50"]


def test_processes_with_different_tasks_stop_and_name_the_difference(monkeypatch: pytest.MonkeyPatch):
    from imagdressing_core.training import agreement

    class OneOfTwo:
        process_index = 1

    def both(_: Any, fact: Any) -> list[Any]:
        return [("process 0 (first)", {"run.steps": 4, "pairs.digest": "ab"}), fact]

    monkeypatch.setattr(agreement, "gathered", both)
    require_same(OneOfTwo(), {"run.steps": 4, "pairs.digest": "ab"})
    with pytest.raises(IMAGDressingError, match=r"pairs\.digest is ab on process 0 \(first\) and cd on process 1"):
        require_same(OneOfTwo(), {"run.steps": 4, "pairs.digest": "cd"})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"output": "other"}, "run.output, .*, is not the same folder on all machines"),
        ({"steps": 6}, "do not have the same task: run.steps is 4 on process 0 .* and 6 on process 1"),
    ],
)
def test_two_machines_with_different_folders_or_steps_stop_before_a_step(
    models: Path, pairs: Path, tmp_path: Path, sections: dict[str, Any], message: str
):
    import re

    own = {"output": str(tmp_path / "other")} if "output" in sections else sections
    configs = [
        write_toml(config(models, pairs, tmp_path / "out", run=run), tmp_path / f"{rank}.toml")
        for rank, run in enumerate(({}, own))
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = str(Path(__file__).with_name("one_config_each.py"))
    environment = ENVIRONMENT | {"ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, script, *map(str, configs)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_sigterm_saves_the_state_and_the_run_resumes_from_it(models: Path, pairs: Path, tmp_path: Path):
    """SLURM sends the signal to every process of a job, those that read images among them."""
    run = {"steps": 10_000, "save_every": 10_000}
    plain = config(models, pairs, tmp_path / "out", run=run, data={"workers": 2})
    toml = write_toml(plain, tmp_path / "config.toml")
    command = [sys.executable, "-m", "imagdressing_core.training", "train", str(toml)]
    piped: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **piped)
    metrics = tmp_path / "out" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 3:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate()
    assert process.returncode == 143, said
    state = require_state(tmp_path / "out")
    step = lines(tmp_path / "out")[-1]["step"]
    assert state.name == f"step-{step:08d}"
    assert f"SIGTERM stopped the run at step {step}; the same command resumes it." in said
    trainer = start(plain, tmp_path)
    trainer.resume()
    assert trainer.step == step


def test_a_slurm_job_saves_at_the_end_of_its_time_and_is_put_back_into_the_queue(
    models: Path, pairs: Path, tmp_path: Path
):
    """Stand-ins for SLURM's two commands: srun starts two processes with the variables it sets for each."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "srun": 'for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & done; wait %1 && wait %2',
        "scontrol": f'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" > {tmp_path}/requeued; fi',
        "python": f'exec {sys.executable} "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    plain = config(models, pairs, tmp_path / "out", run={"steps": 10_000, "save_every": 10_000})
    job = {"SLURM_JOB_NODELIST": "one", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "MASTER_PORT": str(free_port())}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "docs/training/slurm.sh", str(write_toml(plain, tmp_path / "config.toml"))],
        cwd=REPOSITORY, env=ENVIRONMENT | job | {"PATH": path, "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    metrics = tmp_path / "out" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 3:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.05)
    subprocess.run(["pkill", "-TERM", "-f", f"training train {tmp_path}/config.toml"], check=True)
    said, _ = process.communicate()
    assert process.returncode == 143, said
    assert require_state(tmp_path / "out").name == f"step-{lines(tmp_path / 'out')[-1]['step']:08d}"
    assert "2 process(es) on 1 machine(s)" in said
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"


def test_a_run_says_and_records_what_it_is(
    models: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    start(config(models, pairs, tmp_path / "out", run={"steps": 1, "accumulation": 3}), tmp_path).run()
    first = capsys.readouterr().out.splitlines()[0]
    for part in (
        "million parameters on CPU in fp32",
        "1 process(es) on 1 machine(s)",
        "6 samples: 2 × 3 accumulated × 1",
        "8 pairs, without a cache",
    ):
        assert part in first
    run = lines(tmp_path / "out")[0]["run"]
    assert run["version"] and run["command"].startswith("python ") and len(run["weights"]["unet"]) == 64
    progress = json.loads((require_state(tmp_path / "out") / PROGRESS_FILE).read_text())
    assert {name: progress[name] for name in ("version", "command", "date", "weights")} == {
        name: run[name] for name in ("version", "command", "date", "weights")
    }
    assert progress["pairs"]["count"] == 8


def test_what_this_machine_does_not_have_is_refused_before_loading(pairs: Path, tmp_path: Path):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(IMAGDressingError, match=r"fp16.* needs a GPU, and none is visible"):
        start(config(nowhere, pairs, tmp_path / "out", run={"precision": "fp16"}), tmp_path)
    with pytest.raises(IMAGDressingError, match=r"run\.trackers names wandb, not installed here: pip install wandb"):
        start(config(nowhere, pairs, tmp_path / "out", run={"trackers": ["tensorboard", "wandb"]}), tmp_path)


def test_broken_samples_are_left_out_and_listed_up_to_the_limit(models: Path, tmp_path: Path):
    data = write_folder(tmp_path / "data", 4)
    (data / "garment2.png").write_bytes(b"no image")
    with (data / "manifest.jsonl").open("a") as file:
        file.write("{}\n")
    plain = config(models, data, tmp_path / "out", data={"skip_broken": 2})
    assert start(plain, tmp_path).run()
    listed = (tmp_path / "out" / "broken.txt").read_text().splitlines()
    assert len(listed) == 2
    assert "line 5 names no person" in listed[0] and "garment2.png cannot be read as an image" in listed[1]
    (data / "person1.png").unlink()
    with pytest.raises(IMAGDressingError, match=r"3 samples are broken, and data\.skip_broken allows 2"):
        start(config(models, data, tmp_path / "more", data={"skip_broken": 2}), tmp_path).run()


def test_train_says_whether_it_reached_the_end(models: Path, pairs: Path, output: Path, tmp_path: Path):
    assert train(read_config(write_toml(config(models, pairs, output, run={"steps": 2}), tmp_path / "c.toml")))
