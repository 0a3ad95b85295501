"""Own metrics, in a module that somebody wrote beside their study."""

from pathlib import Path

import numpy
import pytest
from PIL import Image
from support import drawn, evaluating
from typer.testing import CliRunner

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.__main__ import app

OWN = '''
"""Own metrics: the difference of mean colours, an image's brightness against its first pixel, and its garment's."""
import numpy
import os
from imagdressing_core.metrics.scoring import Scorer

def load(weights, device, protocol):
    return lambda garment, generated: [
        {"colour": abs(float(one.mean()) - float(other.mean()))} for one, other in zip(garment, generated)
    ]

def load_brightness(weights, device, protocol):
    return lambda generated: [{"brightness": numpy.float32(one.mean() / one[0, 0].mean())} for one in generated]

def load_garment_brightness(weights, device, protocol):
    return lambda generated, generated_mask: [
        {"cloth": one[mask].mean()} for one, mask in zip(generated, generated_mask)
    ]

def load_too_many(weights, device, protocol):
    return lambda garment, generated: [{"colour": 0.0}] * 99

def load_killer(weights, device, protocol):
    return lambda garment, generated: os.kill(os.getpid(), 9)

COLOUR = Scorer("colour", ("colour",), ("garment", "generated"), load, lower_is_better=True)
BRIGHTNESS = Scorer("brightness", ("brightness",), ("generated",), load_brightness)
CLOTH = Scorer("cloth", ("cloth",), ("generated", "generated_mask"), load_garment_brightness)
AGAIN = Scorer("again", ("colour",), ("garment", "generated"), load)
POSE = Scorer("mine", ("pose",), ("garment", "generated"), load)
LONG = Scorer("long", ("colour",), ("garment", "generated"), load_too_many)
DIES = Scorer("dies", ("dies",), ("garment", "generated"), load_killer)
LAMBDA = Scorer("lambda", ("colour",), ("garment", "generated"), lambda *_: load(*_))
MISSPELT = Scorer("misspelt", ("color",), ("garment", "generated"), load)
NOTHING = 3
'''


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metric.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_an_own_metric_is_a_column_beside_the_papers(folder: Path):
    evaluating.run(folder, "--score", "own_metric:COLOUR")
    ours, other = (evaluating.cell(folder, one, "colour") for one in (evaluating.OURS, evaluating.OTHER))
    assert ours["mean"] != "" and other["difference"] != "" and other["p"] != ""
    assert "colour ↓" in (folder / "out/table.md").read_text()


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_an_own_metric_may_give_numpys_numbers_and_infinity_is_none(folder: Path):
    dark = numpy.array(Image.open(folder / "ours/1.png"))
    dark[0, 0] = 0
    drawn.save(dark, folder / "ours/1.png")
    for _ in range(2):  # computed, and found kept
        evaluating.run(folder, "--score", "own_metric:BRIGHTNESS")
        cell = evaluating.cell(folder, evaluating.OURS, "brightness")
        assert (cell["pictures"], cell["of"]) == ("3", "4") and 0 < float(cell["mean"]) < 10
        reasons = evaluating.scores_by_pair(folder)[evaluating.OURS, "1.png"]["reasons"]
        assert "brightness: score is not a number: inf" in reasons


def test_an_own_metric_gets_no_mask_that_it_cannot_use(folder: Path):
    drawn.save(numpy.ones((72, 96), bool), folder / "ours/masks/1.png")
    drawn.save(numpy.zeros((96, 72), bool), folder / "ours/masks/2.png")
    evaluating.run(folder, "--score", "own_metric:CLOTH")
    assert evaluating.cell(folder, evaluating.OURS, "cloth")["pictures"] == "2"
    reasons = [evaluating.scores_by_pair(folder)[evaluating.OURS, f"{i}.png"]["reasons"] for i in (1, 2)]
    assert "cloth: mask of another size than the generated image" in reasons[0]
    assert "cloth: empty mask of the generated image" in reasons[1]


def test_a_scoring_process_that_is_killed_is_said_and_costs_no_other_score(folder: Path):
    with pytest.raises(IMAGDressingError, match=r"A process that scores was killed.*give fewer --processes"):
        evaluating.run(folder, "--score", "own_metric:DIES", "--processes", "2")
    assert (folder / "out/scores-0.jsonl").is_file()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("COLOUR", "AGAIN"), "--score own_metric:AGAIN: its term 'colour' is own_metric:COLOUR's too"),
        (("POSE",), "--score own_metric:POSE: its term 'pose' is pose's too"),
        (("LONG",), "The score long gave 99 results for 8 pairs"),
        (("MISSPELT",), "The score misspelt gave the terms colour in place of color"),
    ],
)
def test_an_own_metric_that_would_be_mixed_up_is_refused(names: tuple[str, ...], says: str, folder: Path):
    with pytest.raises(IMAGDressingError, match=says):
        evaluating.run(folder, *(part for name in names for part in ("--score", f"own_metric:{name}")))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent_module:X", "absent_module:X cannot be imported"),
        ("own_metric:ABSENT", "own_metric:ABSENT cannot be imported"),
        ("own_metric:LAMBDA", "own_metric:LAMBDA cannot be sent to processes.*a function of the module"),
        ("own_metric:NOTHING", "is a int, no Scorer"),
        ("fid", "--score fid is of whole methods: give a score of images too"),
        ("fidd", "There are .*dists, fid, kid.*MODULE:NAME"),
    ],
)
def test_a_metric_that_is_none_is_said(name: str, says: str, folder: Path):
    command = ["evaluate", str(folder / "manifest.csv"), "--method", f"A={folder / 'ours'}", "--score", name]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, IMAGDressingError)
    with pytest.raises(IMAGDressingError, match=says):
        raise result.exception
