"""One run file from the manifest to the report, with tiny models in place of published ones."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import evaluating, tiny_annotators
from support.comfyui_release import REPOSITORY
from typer.testing import CliRunner

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.__main__ import app
from imagdressing_core.metrics.manifest import read_manifest
from imagdressing_core.metrics.run_file import Cases, cases_of, method_command, read_run_file

ONE = 'cases = { manifest = "m.csv" }\n'
# An own method, in any language: it copies drawn images, its share of the manifest.
COPIES = """
import csv, os, shutil, sys
manifest, out, source = sys.argv[1:]
rows = list(csv.DictReader(open(manifest)))[int(os.environ.get("RANK", 0)) :: int(os.environ.get("WORLD_SIZE", 1))]
os.makedirs(out, exist_ok=True)
for row in rows:
    if not os.path.exists(f"{source}/{row['picture']}"):
        sys.exit(f"Error: {row['picture']} cannot be made")
    shutil.copy(f"{source}/{row['picture']}", out)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_annotators.save_parser(folder / "parser")
    tiny_annotators.save_pose_estimator(folder / "estimator")
    return folder


@pytest.fixture
def study(folder: Path, models: Path) -> Path:
    """A drawn evaluation whose methods have no masks and poses, and its run file."""
    for part in ("ours/masks", "ours/poses", "other/masks", "other/poses", "garment_masks"):
        shutil.rmtree(folder / part)
    text = (folder / "manifest.csv").read_text()
    for i in range(4):
        text = text.replace(f"garment_masks/{i}.png", "")
    (folder / "manifest.csv").write_text(text)
    (folder / "copies.py").write_text(COPIES)
    command = [sys.executable, str(folder / "copies.py"), "{manifest}", "{out}"]
    (folder / "table.toml").write_text(
        f"""
output = {json.dumps(str(folder / "out"))}
score = ["cami-u", "pose"]
cases = {{ manifest = {json.dumps(str(folder / "manifest.csv"))} }}
masks = {{ weights = {json.dumps(str(models / "parser"))}, labels = ["Upper-clothes", "Hat", "Background"] }}
poses = {{ weights = {json.dumps(str(models / "estimator"))}, detector = "" }}

[methods.IMAGDressing-v1]
command = {json.dumps([*command, str(folder / "ours")])}

[methods."IP-Adapter"]
folder = {json.dumps(str(folder / "other"))}
"""
    )
    return folder


def run(study: Path, *more: str) -> str:
    result = CliRunner().invoke(app, ["run", str(study / "table.toml"), *more])
    if result.exception is not None:
        raise result.exception
    return result.output


def made(study: Path) -> dict[str, int]:
    files = [*(study / "out").rglob("*.png"), *(study / "other").rglob("*.png")]
    return {str(path.relative_to(study)): path.stat().st_mtime_ns for path in files}


def test_a_run_makes_images_masks_poses_and_the_report(study: Path):
    said = run(study)
    assert "report.html" in said
    (case, *_) = read_manifest(study / "out/manifest.csv")
    assert case.garment_mask is not None and case.garment_mask.is_file()
    for method in (study / "out/IMAGDressing-v1", study / "other"):
        assert {path.name for path in (method / "masks").iterdir()} == {f"{i}.png" for i in range(4)}
        assert {path.name for path in (method / "poses").iterdir()} == {f"{i}.png" for i in range(4)}
    for column in ("CAMI-U", "pose"):
        assert evaluating.cell(study, "IMAGDressing-v1", column)["pictures"] == "4"
    assert {row["masks"] for row in evaluating.records(study, "scores.csv")} == {"garment_mask and generated_mask"}


def test_a_second_run_makes_nothing_anew(study: Path):
    run(study)
    before = {name: time for name, time in made(study).items() if "masks" in name or "poses" in name}
    scores = (study / "out/scores-0.jsonl").read_text()
    run(study)
    assert {name: time for name, time in made(study).items() if name in before} == before
    assert (study / "out/scores-0.jsonl").read_text() == scores


def test_a_run_that_was_stopped_makes_only_what_is_missing(study: Path):
    run(study)
    lost = study / "other/masks/2.png"
    lost.unlink()
    before = made(study)
    run(study)
    after = made(study)
    assert lost.is_file()
    assert {name for name in before if "masks" in name and after[name] != before[name]} == set()


def test_all_steps_that_failed_are_listed_after_all_others_are_done(study: Path):
    (study / "ours/3.png").unlink()
    text = (study / "table.toml").read_text().replace("Upper-clothes", "Shirt")
    (study / "table.toml").write_text(text + '[methods.Absent]\ncommand = ["/absent/program"]\n')
    with pytest.raises(IMAGDressingError, match="Nothing is scored") as error:
        run(study)
    for failure in (
        "- masks of the garments: .*no label 'Shirt'",
        "- IMAGDressing-v1: 3.png cannot be made",
        "- Absent: /absent/program cannot be started",
        "- masks of IP-Adapter: ",
    ):
        error.match(failure)
    assert len(list((study / "other/poses").iterdir())) == 4
    assert not (study / "out/report.html").exists()


def test_two_processes_share_a_run_and_make_the_same_table(study: Path):
    alone = run(study)
    table = {row["column"] + row["method"]: row["mean"] for row in evaluating.records(study, "table.csv")}
    for part in (study / "out", study / "other/masks", study / "other/poses"):
        shutil.rmtree(part)
    command = [sys.executable, "-m", "imagdressing_core.metrics", "run", str(study / "table.toml"), "--processes", "2"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "2 launched processes" in done.stderr and "report.html" in alone
    assert {row["column"] + row["method"]: row["mean"] for row in evaluating.records(study, "table.csv")} == table
    assert all((study / f"out/scores-{i}.jsonl").is_file() for i in range(2))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_that_is_stopped_by_sigterm_leaves_no_command_behind(study: Path, processes: str):
    sleeps = "import os, sys, time; open(f'{sys.argv[1]}/pid-{os.getpid()}', 'w').close(); time.sleep(60)"
    command = json.dumps([sys.executable, "-c", sleeps, str(study)])
    (study / "table.toml").write_text(
        f"output = {json.dumps(str(study / 'out'))}\n"
        f"cases = {{ manifest = {json.dumps(str(study / 'manifest.csv'))} }}\n[methods.A]\ncommand = {command}\n"
    )
    arguments = ["run", str(study / "table.toml"), "--processes", processes]
    run = evaluating.start_process([sys.executable, "-m", "imagdressing_core.metrics", *arguments])
    while len(started := list(study.glob("pid-*"))) < int(processes):
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 143
    for file in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.removeprefix("pid-")), 0)
    run.communicate()


def test_igpairs_persons_give_face_and_pose(study: Path):
    entries = [
        {"image_file": f"ours/{i}.png", "cloth_file": f"garments/{i}.png", "text": [f"person {i}", "somebody"]}
        for i in range(4)
    ]
    (study / "test.json").write_text(json.dumps(entries))
    cases = cases_of(Cases(igpair=study / "test.json", root=study, count=2))
    assert [(case.file_name, case.prompt) for case in cases] == [("000000.png", "person 0"), ("000002.png", "person 2")]
    assert cases[1].face == cases[1].person == study / "ours/2.png"
    text = (study / "table.toml").read_text()
    source = f"igpair = {json.dumps(str(study / 'test.json'))}, root = {json.dumps(str(study))}"
    text = text.replace(f"manifest = {json.dumps(str(study / 'manifest.csv'))}", source)
    (study / "table.toml").write_text(text)
    for i in range(4):
        for method in ("ours", "other"):
            shutil.copy(study / method / f"{i}.png", study / method / f"{i:06d}.png")
    run(study)
    poses = {case.pose for case in read_manifest(study / "out/manifest.csv")}
    assert len(poses) == 4 and all(pose is not None and pose.is_file() for pose in poses)
    assert evaluating.cell(study, "IMAGDressing-v1", "pose")["pictures"] == "4"


def test_a_folder_of_garments_gives_a_case_for_each_prompt(study: Path):
    cases = cases_of(Cases(garments=study / "garments", prompts=("a woman", "a man")))
    assert [case.file_name for case in cases][:3] == ["0-0.png", "0-1.png", "1-0.png"]
    assert {case.prompt for case in cases} == {"a woman", "a man"} and len(cases) == 8
    with pytest.raises(IMAGDressingError, match="holds no image of a garment"):
        cases_of(Cases(garments=study / "absent", prompts=("a woman",)))


def test_photographs_that_differ_in_their_suffix_only_are_different_cases(study: Path):
    shutil.copy(study / "garments/1.png", study / "garments/0.JPG")
    names = [case.file_name for case in cases_of(Cases(garments=study / "garments", prompts=("a woman",)))]
    assert sorted(names) == ["0-JPG-0.png", "0-png-0.png", "1-0.png", "2-0.png", "3-0.png"]


@pytest.mark.parametrize("entry", [{"text": [5]}, {"text": {"a": "b"}}, {"text": None}, {"text": []}])
def test_an_entry_of_igpair_without_a_text_is_said(tmp_path: Path, entry: dict[str, Any]):
    (tmp_path / "x.json").write_text(json.dumps([{"image_file": "a.png", "cloth_file": "b.png"} | entry]))
    with pytest.raises(IMAGDressingError, match="cannot be read as IGPair's JSON"):
        cases_of(Cases(igpair=tmp_path / "x.json"))


def test_windows_files_with_a_byte_order_mark_are_read(tmp_path: Path):
    entries = [{"image_file": "a.png", "cloth_file": "b.png", "text": "c"}]
    (tmp_path / "x.json").write_text(json.dumps(entries), encoding="utf-8-sig")
    assert len(cases_of(Cases(igpair=tmp_path / "x.json"))) == 1
    text = 'cases = { manifest = "m.csv" }\r\n[methods.A]\r\nfolder = "a"\r\n'
    (tmp_path / "table.toml").write_bytes(text.encode("utf-8-sig"))
    assert list(read_run_file(tmp_path / "table.toml").methods) == ["A"]


def test_a_method_becomes_the_command_that_makes_it():
    def command(**method: Any) -> list[str] | None:
        return method_command(method, Path("m.csv"), Path("out"))

    made = command(make="blip-diffusion", python="/envs/blip/bin/python", weights="models/blip")
    assert made == [
        *("/envs/blip/bin/python", "-m", "imagdressing_core.baselines", "blip-diffusion"),
        *("--manifest", "m.csv", "--out", "out", "--weights", "models/blip"),
    ]
    made = command(make="imagdressing", batch_size=4, fast=True, safe=False, lora=["a", "b"])
    assert made is not None
    assert made[8:] == ["--batch-size", "4", "--fast", "--lora", "a", "--lora", "b"]  # flags have no opposite
    assert command(command=["paint", "{manifest}", "--to={out}"]) == ["paint", "m.csv", "--to=out"]
    assert command(folder="there") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'{ONE}images = -1\n[methods.A]\nfolder = "a"', "images is -1"),
        (f'{ONE}score = []\n[methods.A]\nfolder = "a"', "score is empty"),
        (f"{ONE}[methods.A]\nfolder = 5", "methods.A.folder is 5, but a text is needed"),
        (f"{ONE}[methods.A]\nmake = 5", "methods.A.make is 5, but a text is needed"),
        (f'{ONE}[methods.A]\ncommand = "python x.py"', "methods.A.command is 'python x.py', but a list of texts"),
        (f"{ONE}[methods.A]\ncommand = []", "methods.A.command is .., but a list of texts is needed"),
        (f'{ONE}[methods.A]\nfolder = "a"\nmsaks = "b"', "methods.A.msaks is unknown"),
        (f'{ONE}[methods."A b"]\nmake = "a"\n[methods.A_b]\nmake = "b"', "A b and A_b would share the folder .*A_b"),
        (f'{ONE}[methods.inputs]\nmake = "a"', "methods.inputs needs another name"),
        (f'{ONE}[methods.".."]\nmake = "a"', "methods... needs another name"),
        ("", "cases is missing; methods is missing"),
        ('cases = { manifest = "m.csv", igpair = "x.json" }\n[methods.A]\nfolder = "a"', "name one of manifest"),
        ('cases = { garments = "g" }\n[methods.A]\nfolder = "a"', "garments need prompts"),
        ('cases = { manifest = "m.csv" }\n[methods.A]\nurl = "a"', "methods.A needs one of make, command, folder"),
        ('device = 1\ncasse = 2\ncases = { manifest = "m.csv" }\n[methods.A]\nfolder = "a"', "casse is unknown"),
    ],
)
def test_what_is_wrong_with_a_run_file_is_said(text: str, says: str, tmp_path: Path):
    (tmp_path / "table.toml").write_text(text)
    with pytest.raises(IMAGDressingError, match=says):
        read_run_file(tmp_path / "table.toml")


def test_the_shipped_run_file_is_one():
    run = read_run_file(REPOSITORY / "docs/evaluation/table.toml")
    assert run.cases.count == 2000 and run.masks is not None and run.poses is not None
    assert {"make", "command", "folder"} <= {way for method in run.methods.values() for way in method}
