"""The catalogue on one machine: each image once, each garment encoded once, broken rows named, a page of all."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from support.training_set import drawn_image

from imagdressing_core.catalogue import run
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.on_diffusers.pipeline import DressingPipeline

from .conftest import GARMENTS, Command, images


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many garments each call of the encoder had."""
    calls: list[int] = []
    encode = DressingPipeline.encode_garments

    def counted(self: DressingPipeline, garments: Sequence[Image.Image], *arguments: Any) -> Any:
        calls.append(len(garments))
        return encode(self, garments, *arguments)

    monkeypatch.setattr(DressingPipeline, "encode_garments", counted)
    return calls


def table(out: Path) -> list[dict[str, str]]:
    with (out / "catalogue.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels(out: Path) -> set[bytes]:
    return {Image.open(path).tobytes() for path in (out / "images").glob("*.png")}


def test_each_row_is_an_image_and_each_garment_is_encoded_once(
    command: Command, manifest: Path, tmp_path: Path, encoded: list[int]
):
    result = command(manifest, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert encoded == [1] * GARMENTS
    rows = table(tmp_path / "out")
    assert [row["prompt"] for row in rows] == ["a woman", "a man"] * GARMENTS
    assert {row["image"] for row in rows} == set(images(tmp_path / "out"))
    assert len(pixels(tmp_path / "out")) == 2 * GARMENTS


def test_what_exists_is_not_made_again(
    command: Command, manifest: Path, tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    command(manifest, out)
    lost = table(out)[3]["image"]
    before = images(out)
    (out / "images" / lost).unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.*g") if path.name != lost}
    encoded.clear()
    assert command(manifest, out).exit_code == 0
    assert encoded == [1]
    assert images(out) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    monkeypatch.delattr(run, "Maker")  # with nothing to do, no model is loaded
    assert command(manifest, out).exit_code == 0


def test_an_image_depends_on_its_row_only(command: Command, manifest: Path, tmp_path: Path):
    command(manifest, tmp_path / "all")
    (tmp_path / "moved").mkdir()
    (tmp_path / "garment4.png").rename(tmp_path / "moved" / "garment4.png")
    manifest.write_text("seed,garment,prompt\n4,moved/../moved/garment4.png,a man\n")
    command(manifest, tmp_path / "one")
    assert len(images(tmp_path / "one")) == 1
    assert images(tmp_path / "one").items() <= images(tmp_path / "all").items()


def test_an_image_of_a_batch_is_the_image_alone_but_for_rounding(command: Command, manifest: Path, tmp_path: Path):
    for out, batch in (("alone", 1), ("batch", 2)):
        command(manifest, tmp_path / out, "--batch", batch)
    for name in images(tmp_path / "alone"):
        alone, batch = (numpy.asarray(Image.open(tmp_path / out / "images" / name), int) for out in ("alone", "batch"))
        assert numpy.abs(alone - batch).max() <= 2


def test_rows_are_multiplied_by_prompts_poses_and_seeds(
    command: Command, manifest: Path, tmp_path: Path, encoded: list[int]
):
    manifest.write_text("garment\ngarment0.png\ngarment1.png\n")
    (tmp_path / "prompts.txt").write_text("a woman\n\na man\n")
    (tmp_path / "poses").mkdir()
    for i in (1, 2):
        drawn_image(30 + i, (64, 64)).save(tmp_path / "poses" / f"{i}.png")
    lists = ("--prompts", tmp_path / "prompts.txt", "--poses", tmp_path / "poses", "--seeds", 2)
    result = command(manifest, tmp_path / "out", *lists)
    assert result.exit_code == 0, result.output
    assert len({(row["garment"], row["prompt"], row["pose"], row["seed"]) for row in table(tmp_path / "out")}) == 16
    assert len(pixels(tmp_path / "out")) == 16
    assert encoded == [1, 1]


def test_broken_rows_are_named_at_the_end_and_all_others_made(command: Command, manifest: Path, tmp_path: Path):
    (tmp_path / "torn.png").write_bytes(b"not an image")
    with manifest.open("a") as file:
        file.write("absent.png,a woman,1\ntorn.png,a woman,1\ngarment0.png,,1\ngarment0.png,a woman,1.5\n")
    result = command(manifest, tmp_path / "out")
    assert result.exit_code == 1
    assert "12 of 16 rows are in" in result.output
    for said in (
        "row 13: garment: missing or unreadable file",
        "row 14: garment: unreadable file",
        "row 15: prompt is empty",
        "row 16: seed '1.5' is no whole number",
    ):
        assert said in result.output
    assert len(images(tmp_path / "out")) == 12
    page = (tmp_path / "out" / "index.html").read_text()
    assert "unreadable file" in page and page.count('loading="lazy"') == 12 + GARMENTS + 1
    (tmp_path / "torn.png").unlink()
    drawn_image(9).save(tmp_path / "torn.png")
    assert "13 of 16 rows" in command(manifest, tmp_path / "out").output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prompts", "blank.txt"), "--prompts .*blank.txt names nothing: no image would be made"),
        (("--poses", "nothing"), "--poses .*nothing names nothing: no image would be made"),
        (("--width", "-64"), "An image of -64 × 64 cannot be made"),
        (("--height", "0"), "An image of 64 × 0 cannot be made"),
        (("--guidance", "nan"), "--guidance is nan, which is outside"),
        (("--strength", "inf"), "--strength is inf, which is outside"),
    ],
)
def test_options_of_which_nothing_can_be_made_are_explained(
    options: tuple[str, str], said: str, command: Command, tmp_path: Path
):
    manifest = "garment\na.png\n" if options[0] == "--prompts" else "garment,prompt\na.png,x\n"
    (tmp_path / "manifest.csv").write_text(manifest)
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "nothing").mkdir()
    name, value = options
    with pytest.raises(IMAGDressingError, match=said):
        command(tmp_path / "manifest.csv", tmp_path / "out", name, tmp_path / value if name.endswith("s") else value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("batch", ["1", "2"])
def test_an_image_without_finite_numbers_is_a_broken_row_and_no_black_image(
    batch: str, command: Command, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decoded = DressingPipeline.__call__

    def overflowing(self: DressingPipeline, layers: Any, prompts: Sequence[str], *more: Any, **options: Any) -> Any:
        guidance = float("nan") if any(prompt.startswith("a man") for prompt in prompts) else 7.5
        return decoded(self, layers, prompts, *more, **{**options, "guidance": guidance})

    monkeypatch.setattr(DressingPipeline, "__call__", overflowing)
    result = command(manifest, tmp_path / "out", "--batch", batch)
    assert result.exit_code == 1
    assert "6 of 12 rows are in" in result.output and "row 2: it has NaN or infinite values" in result.output
    assert len(images(tmp_path / "out")) == 6


def test_a_pose_needs_a_controlnet(command: Command, manifest: Path, tmp_path: Path, models: list[str]):
    manifest.write_text("garment,prompt,pose\ngarment0.png,a woman,garment1.png\n")
    bare = models[: models.index("--controlnet")]
    models_before = models.copy()
    models[:] = bare
    try:
        result = command(manifest, tmp_path / "out")
    finally:
        models[:] = models_before
    assert result.exit_code == 1
    assert "row 1: pose: no --controlnet is given" in result.output


def test_an_image_says_what_it_was_made_from(command: Command, manifest: Path, tmp_path: Path):
    command(manifest, tmp_path / "out")
    row = table(tmp_path / "out")[5]
    said = json.loads(Image.open(tmp_path / "out" / "images" / row["image"]).info["imagdressing"])
    assert said["prompt"] == "a man" and said["seed"] == 2 and said["garment"] == "garment2.png"
    assert said["style"]["steps"] == 2
    assert set(said["weights"]) == {"checkpoint", "unet", "text_encoder", "vae", "image_encoder", "controlnet"}


def test_sheets_show_the_garment_and_its_images(command: Command, manifest: Path, tmp_path: Path):
    command(manifest, tmp_path / "out")
    sheets = sorted((tmp_path / "out" / "sheets").glob("*.jpg"))
    assert [sheet.name.partition("-")[0] for sheet in sheets] == [f"garment{i}" for i in range(GARMENTS)]
    assert Image.open(sheets[0]).size == (3 * 160, 214)
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f"sheets/{sheet.name}" in page for sheet in sheets)


def test_a_killed_run_loses_and_repeats_nothing(command: Command, manifest: Path, tmp_path: Path, models: list[str]):
    out = tmp_path / "out"
    small = ["--width", "64", "--height", "64", "--steps", "2"]
    started = [sys.executable, "-m", "imagdressing_core.catalogue", str(manifest), "--out", str(out), *models, *small]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # as in this process: sums round otherwise on others
    with subprocess.Popen(started, env=os.environ | threads, stderr=subprocess.DEVNULL) as process:
        while not images(out) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = {path: path.stat().st_mtime_ns for path in (out / "images").glob("*.png")}
    assert left
    assert command(manifest, out).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in left} == left
    command(manifest, tmp_path / "other")
    assert images(out) == images(tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("garment,prompts\na.png,x\n", r"the column 'prompts' \(is 'prompt' meant\?\)"),
        ("garment\na.png\n", "has no column 'prompt'"),
        ("garment,prompt\n", "has no rows"),
        (
            "garment,prompt\na.png,a man, in a park\nb.png,a man, in a park\n",
            "more cells than headings.*quotation marks",
        ),
        ("garment,prompt,prompt\na.png,x,y\n", "has the column 'prompt' twice"),
    ],
)
def test_a_wrong_manifest_is_explained(text: str, said: str, command: Command, tmp_path: Path):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(IMAGDressingError, match=said):
        command(tmp_path / "manifest.csv", tmp_path / "out")
