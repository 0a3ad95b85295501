"""The trial: every command of a real run, on drawn pairs and tiny models."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training import trial as module
from imagdressing_core.training.config import Data, read_config
from imagdressing_core.training.data import check
from imagdressing_core.training.trial import draw_pairs, trial


def test_a_trial_goes_from_drawn_pairs_to_an_exported_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    said: list[str] = []
    trial(tmp_path / "trial", 8, said.append)
    commands = [line.split()[4] for line in said if line.startswith("\n$ python -m imagdressing_core.training")]
    assert commands == ["check", "cache", "train", "export"]
    assert "training works here" in said[-1]
    folder = tmp_path / "trial"
    assert {path.suffix for path in folder.glob("mine.*")} == {".safetensors", ".pt", ".md"}
    assert read_config(folder / "run.toml").run.steps == 8
    assert len(list((folder / "run/validation").glob("*.png"))) == 4
    with pytest.raises(IMAGDressingError, match="is not empty"):
        trial(folder, 8, said.append)


def test_the_drawn_persons_wear_the_garments_that_stand_beside_them(tmp_path: Path):
    draw_pairs(tmp_path / "pairs", range(3))
    assert list(check(Data("folder", str(tmp_path / "pairs"), width=module.WIDTH, height=module.HEIGHT))) == []
    for i in range(3):
        person, garment = (Image.open(tmp_path / f"pairs/{name}{i}.png") for name in ("person", "garment"))
        assert person.getpixel((32, 50)) == garment.getpixel((32, 50)) != (255, 255, 255)
        assert person.getpixel((2, 2)) != garment.getpixel((2, 2)) == (255, 255, 255)


def test_a_loss_that_does_not_fall_is_no_success(tmp_path: Path):
    lines = [{"step": i, "validation_loss": loss} for i, loss in enumerate((1.0, 0.9, 1.1))]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, [{"step": 0, "run": {}}, *lines])))
    with pytest.raises(IMAGDressingError, match=r"went from 1\.0000 to 1\.1000: it did not fall"):
        module._say_result(tmp_path, tmp_path, print)  # pyright: ignore[reportPrivateUsage]


def test_sigterm_ends_the_command_that_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started = tmp_path / "started"
    write = f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))"
    sleeps = f"import os, pathlib, time; {write}; time.sleep(600)"
    monkeypatch.setattr(module, "COMMAND", (module.sys.executable, "-c", sleeps))

    def signal_once_it_runs() -> None:
        while not started.exists() or not started.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=signal_once_it_runs).start()
    with pytest.raises(IMAGDressingError, match="SIGTERM stopped the trial in the command check"):
        trial(tmp_path / "trial", 4, lambda _: None)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_command_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "COMMAND", (module.sys.executable, "-c", "raise SystemExit(2)"))
    with pytest.raises(IMAGDressingError, match="The command check failed"):
        trial(tmp_path / "trial", 4, lambda _: None)
