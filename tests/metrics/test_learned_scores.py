"""The learned scores within the evaluation: CAMI-S by the command, on tiny weights in the published formats."""

import csv
import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from support import drawn, tiny_clip, tiny_faces
from transformers import CLIPModel
from typer.testing import CliRunner

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.__main__ import app
from imagdressing_core.metrics.clip_text import load_clip_text
from imagdressing_core.metrics.mp_lpips import MPLPIPS
from imagdressing_core.metrics.outcome import NoScore
from imagdressing_core.metrics.paper import PROTOCOLS, TERMS
from imagdressing_core.metrics.scoring import SCORERS, PairContent, Scores, score

BY_NAME = {scorer.name: scorer for scorer in SCORERS}
RED, BLUE = (255, 0, 0), (0, 0, 255)


def with_face(colour: tuple[int, int, int] | None) -> numpy.ndarray:
    """An image with a square that the tiny detector takes for a face, or without."""
    image = numpy.random.default_rng(0).integers(90, 160, (640, 640, 3), numpy.uint8)
    if colour is not None:
        image[320:352, 320:352] = colour
    return image


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ("clip", "faces"):
        (folder / name).mkdir()
    tiny_clip.save_clip(folder / "clip")
    tiny_faces.save_faces(folder / "faces")
    return folder


def test_the_scorers_compute_the_papers_terms_and_know_the_published_weights():
    assert {term for scorer in SCORERS for term in scorer.terms} == set(TERMS)
    names = [one.name for scorer in SCORERS for one in scorer.weights]
    assert names == ["face", "text", "image-reward", "image-reward-tokenizer", "mp-lpips"]
    assert [column.name for one in SCORERS for column in one.columns if not column.higher_is_better] == ["mp_lpips"]


def test_cami_s_is_the_sum_of_all_six_terms_of_whoever_has_a_face(tmp_path: Path, weights: Path):
    rows = drawn.evaluation(tmp_path, ("ours",), garments=3)
    drawn.save(with_face(BLUE), tmp_path / "face.png")
    for row in rows:
        row["face"] = "face.png"
    drawn.write_manifest(rows, tmp_path / "manifest.csv")
    for i, colour in enumerate((BLUE, RED, None)):
        drawn.save(with_face(colour), tmp_path / f"ours/{i}.png")
        drawn.save(numpy.ones((640, 640), bool), tmp_path / f"ours/masks/{i}.png")
    options = ["--score", "cami-s", "--processes", "1", "--output", str(tmp_path / "out")]
    options += ["--weights", f"text={weights / 'clip'}", "--weights", f"face={weights / 'faces'}"]
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "manifest.csv"), "--method", f"IMAGDressing-v1={tmp_path / 'ours'}", *options]
    )
    assert result.exception is None, result.output
    with (tmp_path / "out/scores.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert float(first["face"]) == pytest.approx(1, abs=1e-5)
    terms = ("structure", "texture", "keypoints", "pose", "face", "text")
    assert float(first["CAMI-S"]) == pytest.approx(sum(float(first[term]) for term in terms))
    assert float(second["CAMI-S"]) > 0
    assert third["face"] == third["CAMI-S"] == ""
    assert "face: no face in the generated image" in third["reasons"]
    assert float(third["CAMI-U"]) > 0
    (expected,) = load_clip_text(str(weights / "clip"))(["a person"], [with_face(BLUE)])
    assert float(first["text"]) == pytest.approx(expected)


def test_missing_weights_are_said_before_anything_is_scored(tmp_path: Path):
    drawn.evaluation(tmp_path, ("ours",), garments=2)
    options = ["--score", "text", "--weights", f"text={tmp_path / 'nowhere'}", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "manifest.csv"), "--method", f"ours={tmp_path / 'ours'}", *options]
    )
    assert isinstance(result.exception, IMAGDressingError)
    assert "nowhere" in str(result.exception) and "--weights text=PATH" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """MP-LPIPS with places for features, so that each point matches itself, and colours for perception."""

    def features(image: numpy.ndarray) -> torch.Tensor:
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
        return torch.stack([rows, columns, torch.ones(64, 64)])

    def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).abs().mean((1, 2, 3))

    monkeypatch.setattr(MPLPIPS, "load", lambda weights, device: MPLPIPS(features, distance))


def mp_lpips_of(*pairs: PairContent) -> list[Scores]:
    scorer = BY_NAME["mp-lpips"]
    return score(pairs, scorer, scorer.load([""], "cpu", PROTOCOLS["corrected"]))


@pytest.mark.usefixtures("lpips")
def test_mp_lpips_gets_garment_and_image_with_their_masks():
    photograph, mask = drawn.garment(0)
    image, where = drawn.worn(photograph, mask)
    same = PairContent(generated=photograph, garment=photograph, generated_mask=mask, garment_mask=mask)
    worn = PairContent(generated=image, garment=photograph, generated_mask=where, garment_mask=mask)
    first, second = mp_lpips_of(same, worn)
    assert first["mp_lpips"] == pytest.approx(0, abs=0.02)
    assert isinstance(second["mp_lpips"], float) and second["mp_lpips"] > 0.1


@pytest.mark.usefixtures("lpips")
def test_mp_lpips_names_what_it_cannot_score_beside_what_it_can():
    photograph, mask = drawn.garment(0)
    dot = numpy.zeros_like(mask)
    dot[1, 1] = True
    whole = PairContent(generated=photograph, garment=photograph, generated_mask=mask, garment_mask=mask)
    empty = PairContent(generated=photograph, garment=photograph, generated_mask=~mask & mask, garment_mask=mask)
    tiny = PairContent(generated=photograph, garment=photograph, generated_mask=mask, garment_mask=dot)
    unmasked = PairContent(generated=photograph, garment=photograph, generated_mask=mask)
    reasons = [one["mp_lpips"] for one in mp_lpips_of(empty, whole, tiny, unmasked)]
    assert reasons[1] == pytest.approx(0, abs=0.02)
    expected = ["empty mask of the generated image", "garment too small", "no garment mask given"]
    for outcome, reason in zip((reasons[0], *reasons[2:]), expected, strict=True):
        assert isinstance(outcome, NoScore)
        assert outcome.reason == reason


def test_all_missing_weights_are_named_at_once(tmp_path: Path):
    drawn.evaluation(tmp_path, ("ours",), garments=2)
    options = ["--score", "cami-s", "--output", str(tmp_path / "out")]
    for name in ("text", "face"):
        options += ["--weights", f"{name}={tmp_path / 'nowhere' / name}"]
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "manifest.csv"), "--method", f"ours={tmp_path / 'ours'}", *options]
    )
    for name in ("text", "face"):
        assert str(tmp_path / "nowhere" / name) in str(result.exception)


def test_a_device_that_is_missing_is_no_fault_of_the_weights(tmp_path: Path, weights: Path):
    drawn.evaluation(tmp_path, ("ours",), garments=2)
    options = ["--score", "text", "--weights", f"text={weights / 'clip'}", "--device", "cuda:99"]
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "manifest.csv"), "--method", f"ours={tmp_path / 'ours'}", *options]
    )
    assert isinstance(result.exception, IMAGDressingError)
    assert "--device cuda:99 cannot be used" in str(result.exception)
    assert "could not be loaded" not in str(result.exception)


def test_weights_that_were_replaced_are_not_taken_for_the_old_ones(tmp_path: Path, weights: Path):
    rows = drawn.evaluation(tmp_path, ("ours",), garments=2)
    drawn.write_manifest([row | {"prompt": "a person"} for row in rows], tmp_path / "manifest.csv")
    shutil.copytree(weights / "clip", tmp_path / "clip")
    options = ["--score", "text", "--weights", f"text={tmp_path / 'clip'}", "--output", str(tmp_path / "out")]
    command = ["evaluate", str(tmp_path / "manifest.csv"), "--method", f"ours={tmp_path / 'ours'}", *options]
    origins = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = CLIPModel(CLIPModel.from_pretrained(tmp_path / "clip").config)
        model.save_pretrained(tmp_path / "clip")
        result = CliRunner().invoke(app, command)
        assert result.exception is None, result.output
        with (tmp_path / "out/scores.csv").open(newline="") as file:
            scores = [row["text"] for row in csv.DictReader(file)]
        origins.append((json.loads((tmp_path / "out/evaluation.json").read_text())["weights of text"], scores))
    assert origins[0] == origins[1]
    assert origins[0][0] != origins[2][0] and origins[0][1] != origins[2][1]
