"""Aspect buckets: portrait, landscape and square persons in batches of one size each."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training_set import config, drawn_image, forget_accelerate, write_folder, write_toml

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training import buckets
from imagdressing_core.training.buckets import bucket_of, in_groups
from imagdressing_core.training.cache import build_cache
from imagdressing_core.training.config import Data, Dropout, TrainingConfig, read_config
from imagdressing_core.training.data import whole_pairs
from imagdressing_core.training.samples import PairSamples, SampleMaker, loader
from imagdressing_core.training.state import require_state
from imagdressing_core.training.trainer import Trainer

SIZES = {"portrait": (60, 80), "landscape": (80, 60), "square": (70, 70)}
LATENT = (4, 20, 16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five portraits, three landscapes and two squares, for buckets of 32 × 40 in steps of 4 pixels."""
    monkeypatch.setattr(buckets, "STEP", 4)
    written = write_folder(tmp_path / "pairs", 10)
    for i, name in enumerate(["portrait"] * 5 + ["landscape"] * 3 + ["square"] * 2):
        drawn_image(i, SIZES[name]).save(written / f"person{i}.png")
    return written


def samples_of(folder: Path, group: int, **entries: Any) -> PairSamples:
    data = Data(format="folder", path=str(folder), width=32, height=40, fit="pad", buckets=True, **entries)
    quiet = Dropout(text=0, both=0)
    return PairSamples(whole_pairs(data), SampleMaker(data, quiet, LATENT, seed=5), group)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((512, 640), (512, 640)),
        ((1024, 1280), (512, 640)),
        ((3000, 2000), (704, 448)),
        ((900, 900), (576, 512)),
        ((600, 800), (512, 640)),
        ((100, 900), (384, 768)),
        ((900, 100), (768, 384)),
    ],
)
def test_an_image_goes_to_the_bucket_of_the_nearest_aspect(image: tuple[int, int], expected: tuple[int, int]):
    width, height = bucket_of(image, 512, 640)
    assert (width, height) == expected
    assert width * height <= 512 * 640 and width % 64 == height % 64 == 0


def test_a_group_is_of_one_bucket_and_every_pair_has_its_turn():
    of = torch.tensor([0] * 5 + [1] * 3 + [2])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    places = in_groups(order, of, 2, torch.Generator().manual_seed(2))
    assert all(len(set(of[group].tolist())) == 1 for group in places.split(2))
    counts = Counter(places.tolist())
    assert set(counts) == set(range(9))
    assert len(places) == 6 + 4 + 2  # a bucket's last group is filled up


def test_batches_have_one_size_each_and_all_sizes_come(folder: Path):
    samples = samples_of(folder, 4)
    batches: list[Any] = list(loader(samples, range(4), 4, workers=0))
    found = Counter(tuple(batch["person"].shape[-2:]) for batch in batches)
    assert found == {(40, 32): 2, (32, 40): 1, (32, 36): 1}  # height, width
    for batch in batches:
        height, width = batch["person"].shape[-2:]
        assert batch["draws"].noise.shape == batch["draws"].person.shape == (4, 4, height // 2, width // 2)
        assert batch["garment"].shape[-2:] == (40, 32) and batch["draws"].garment.shape[-2:] == (20, 16)


def test_two_processes_share_out_the_samples_of_one(folder: Path):
    samples = samples_of(folder, 4)
    for n in range(4):
        (whole,) = loader(samples, range(n, n + 1), 4, workers=0)
        halves = [next(iter(loader(samples, range(n, n + 1), 2, workers=0, rank=i, processes=2))) for i in (0, 1)]
        assert isinstance(whole, dict)
        assert whole["caption"] == halves[0]["caption"] + halves[1]["caption"]
        assert torch.equal(whole["person"], torch.cat([half["person"] for half in halves]))


def test_a_pair_of_the_same_size_replaces_a_broken_one(folder: Path):
    (folder / "garment6.png").write_bytes(b"no image")
    samples = samples_of(folder, 3, skip_broken=1)
    batches: list[Any] = list(loader(samples, range(4), 3, workers=0))
    assert sum(len(batch["broken"]) for batch in batches) >= 1
    assert sum(len(batch["caption"]) for batch in batches) == 12


def read(folder: Path, models: Path, output: Path, steps: int, **data: Any) -> TrainingConfig:
    entries = {"buckets": True} | data
    validation = {"path": str(folder), "every": 4, "pairs": 10, "pictures": 9, "steps": 1}
    plain = config(models, folder, output, data=entries, run={"steps": steps}, validation=validation)
    return read_config(write_toml(plain, output.parent / "config.toml"))


def run(read: TrainingConfig) -> dict[str, Any]:
    forget_accelerate()
    trainer = Trainer(read)
    trainer.resume()
    assert trainer.run()
    return load_file(require_state(read.run.output) / "model.safetensors")


def test_a_bucketed_run_that_was_stopped_reaches_the_weights_of_one_that_was_not(
    folder: Path, models: Path, tmp_path: Path
):
    whole = run(read(folder, models, tmp_path / "whole", 4))
    run(read(folder, models, tmp_path / "stopped", 2))
    stopped = run(read(folder, models, tmp_path / "stopped", 4))
    assert all(torch.equal(one, stopped[key]) for key, one in whole.items())


def test_a_cache_has_each_person_in_its_bucket(folder: Path, models: Path, tmp_path: Path):
    cached = read(folder, models, tmp_path / "out", 2, cache=str(tmp_path / "cache"))
    assert len(list(build_cache(cached, print))) == 20
    assert run(cached)
    with pytest.raises(IMAGDressingError, match=r"was made with buckets True, this run has None"):
        run(read(folder, models, tmp_path / "other", 2, cache=str(tmp_path / "cache"), buckets=False))
