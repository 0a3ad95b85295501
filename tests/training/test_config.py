"""One typed configuration: what is unknown, missing or impossible is named."""

from pathlib import Path

import pytest
from support.training_set import config, write_toml

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.config import Dropout, Optimiser, read_config

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "training"


def test_the_defaults_are_the_papers_and_the_official_scripts(tmp_path: Path):
    toml = config(tmp_path, tmp_path, tmp_path)
    del toml["optimiser"]
    read = read_config(write_toml(toml, tmp_path / "a.toml"))
    assert read.optimiser == Optimiser()
    assert (read.optimiser.learning_rate, read.optimiser.weight_decay, read.optimiser.warmup_steps) == (
        5e-5,
        0.01,
        2000,
    )
    assert read.dropout == Dropout(image=0.05, text=0.05, both=0.05, garment_latent=0)
    assert not read.objective.zero_terminal_snr


def test_the_shipped_examples_are_configurations():
    found = {path.stem: read_config(path).data.format for path in EXAMPLE.glob("*.toml")}
    assert found == {"igpair": "igpair", "photos": "folder"}


def test_all_problems_are_named_at_once(tmp_path: Path):
    toml = config(tmp_path, tmp_path, tmp_path)
    toml["run"] |= {"bacth": 3, "steps": -1, "precision": "fp8"}
    toml["data"]["fit"] = "stretch"
    toml["weather"] = {"sunny": True}
    del toml["models"]["base"]
    with pytest.raises(IMAGDressingError) as refusal:
        read_config(write_toml(toml, tmp_path / "a.toml"))
    message = str(refusal.value)
    for part in (
        "run.bacth is unknown",
        "run.steps: Input should be greater than 0 (found '-1')",
        "run.precision: Input should be 'no', 'fp16' or 'bf16'",
        "fit is 'stretch', but one of official, pad, crop is needed",
        "weather is unknown",
        "models.base is missing",
    ):
        assert part in message


def test_what_is_no_toml_is_said(tmp_path: Path):
    (tmp_path / "a.toml").write_text("[run\n")
    for name in ("a.toml", "missing.toml"):
        with pytest.raises(IMAGDressingError, match=f"{name} cannot be read as a configuration"):
            read_config(tmp_path / name)
