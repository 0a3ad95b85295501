"""The whole evaluation, from a manifest and folders to the report: by the command, as a user runs it."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import pytest
from PIL import Image
from support import drawn
from support.comfyui_release import REPOSITORY
from typer.testing import CliRunner

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.__main__ import app
from imagdressing_core.metrics.manifest import Method, PairFiles, read_manifest
from imagdressing_core.metrics.outcome import NoScore
from imagdressing_core.metrics.paper import CORRECTIONS, PAPER_ROWS, REPAIRS, Mode
from imagdressing_core.metrics.report import corrections, wrapped
from imagdressing_core.metrics.run import Setting, evaluate
from imagdressing_core.metrics.scoring import SCORERS, PairContent, face_similarity, score

OURS, OTHER = "IMAGDressing-v1", "IP-Adapter"
CAMI_U, POSE = SCORERS[:2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of four garments, and two methods' folders."""
    drawn.evaluation(tmp_path, ("ours", "other"))
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    methods = ("--method", f"{OURS}={folder / 'ours'}", "--method", f"{OTHER}={folder / 'other'}")
    output = ("--output", str(folder / "out"), "--processes", "1")
    return ["evaluate", str(folder / "manifest.csv"), *methods, *output, "--score", "cami-u", "--score", "pose", *more]


def run(folder: Path, *more: str) -> str:
    """Run the command here; return what it prints."""
    result = CliRunner().invoke(app, arguments(folder, *more))
    if result.exception is not None:
        raise result.exception
    return result.output


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    return _start([sys.executable, "-m", "imagdressing_core.metrics", *arguments(folder, *more)])


def _start(command: list[str], more: dict[str, str] | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | (more or {})
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True)


def launch(folder: Path, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    """Start the command by torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*torchrun, "-m", "imagdressing_core.metrics", *arguments(folder, *more)]
    return _start(command)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def records(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "out" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores_by_pair(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    rows = records(folder, "scores.csv")
    return {(one["method"], one["picture"]): {k: v for k, v in one.items() if k != "run"} for one in rows}


def cell(folder: Path, method: str, column: str, source: str = "here") -> dict[str, str]:
    (found,) = (
        one
        for one in records(folder, "table.csv")
        if (one["method"], one["column"]) == (method, column) and one["source"].endswith(source)
    )
    return found


def done_at_the_start(folder: Path, mode: Mode = "corrected") -> tuple[int, int]:
    """Evaluate; return how many scores were found kept, and how many there are."""
    methods = Method(OURS, folder / "ours"), Method(OTHER, folder / "other")
    pairs = [PairFiles(method, case) for method in methods for case in read_manifest(folder / "manifest.csv")]
    moves: list[tuple[int, int]] = []
    setting = Setting(mode)
    evaluate(pairs, (CAMI_U, POSE), setting, folder / "out", lambda done, total: moves.append((done, total)))
    assert moves[-1][0] == moves[-1][1]
    return moves[0]


# The table


def test_the_better_method_comes_out_better_with_interval_and_test(folder: Path):
    printed = run(folder)
    ours, other = cell(folder, OURS, "CAMI-U"), cell(folder, OTHER, "CAMI-U")
    assert float(ours["low"]) < float(ours["mean"]) < float(ours["high"])
    assert float(ours["mean"]) > float(other["mean"]) + 0.3
    assert float(other["difference"]) == pytest.approx(float(other["mean"]) - float(ours["mean"]))
    assert float(other["p"]) == 0.125  # 2 of the 16 exchanges of four garments
    assert float(other["difference_low"]) < float(other["difference"]) < float(other["difference_high"])
    assert float(other["p_holm"]) > float(other["p"])
    for text in (f"**{float(ours['mean']):.3f} [", "p = 0.1250", "Over the pictures that both have"):
        assert text in printed


def test_a_mean_is_that_of_its_images_and_cami_u_the_sum_of_its_terms(folder: Path):
    run(folder)
    rows = [one for one in records(folder, "scores.csv") if one["method"] == OURS]
    sums = [sum(float(one[term]) for term in ("structure", "texture", "keypoints")) for one in rows]
    assert [float(one["CAMI-U"]) for one in rows] == pytest.approx(sums)
    assert float(cell(folder, OURS, "CAMI-U")["mean"]) == pytest.approx(numpy.mean(sums))
    assert float(cell(folder, OURS, "pose")["mean"]) == pytest.approx(1)
    garments = {
        one["garment"]: float(one["CAMI-U"]) for one in records(folder, "garments.csv") if one["method"] == OURS
    }
    assert garments == pytest.approx({one["garment"]: float(one["CAMI-U"]) for one in rows})


def test_the_papers_numbers_stand_beside_ours_and_empty_cells_say_why(folder: Path):
    printed = run(folder)
    assert cell(folder, OURS, "CAMI-U", "Table 2")["mean"] == "1.753"
    assert cell(folder, OTHER, "MP-LPIPS", "Table 2")["mean"] == "0.4093"
    assert "incompatible with several plugins" in cell(folder, OTHER, "CAMI-S", "Table 2")["reason"]
    assert "incompatible with several plugins" in printed
    for row in PAPER_ROWS:
        assert (row.method in printed) == (row.table == "Table 2")  # no ablation was given
        assert row.values.keys() | row.gaps.keys() == {"ImageReward", "MP-LPIPS", "CAMI-U", "CAMI-S"}


def test_any_method_may_be_the_one_to_compare_with(folder: Path):
    run(folder, "--compare", OTHER)
    assert cell(folder, OTHER, "CAMI-U")["difference"] == ""
    assert float(cell(folder, OURS, "CAMI-U")["difference"]) > 0.3


def test_published_mode_says_so_and_has_other_numbers(folder: Path):
    run(folder)
    corrected = cell(folder, OURS, "CAMI-U")["mean"]
    printed = run(folder, "--mode", "published")
    assert cell(folder, OURS, "CAMI-U")["mean"] != corrected
    assert "Results (mode: published)" in printed
    assert "CAMI is computed as the official code does" in printed


def test_the_order_of_the_manifest_is_irrelevant(folder: Path):
    run(folder)
    before, means = scores_by_pair(folder), cell(folder, OTHER, "CAMI-U")
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    drawn.write_manifest(rows[::-1], folder / "manifest.csv")
    run(folder, "--output", str(folder / "out"))
    assert scores_by_pair(folder) == before
    assert float(cell(folder, OTHER, "CAMI-U")["mean"]) == pytest.approx(float(means["mean"]))


# Bad input


def test_every_pair_that_cannot_be_scored_is_named_counted_and_in_no_mean(folder: Path):
    run(folder)
    whole = cell(folder, OURS, "CAMI-U")
    other = folder / "other"
    (other / "0.png").unlink()
    (other / "1.png").write_bytes(b"not an image")
    drawn.save(numpy.zeros((96, 72), bool), other / "masks/2.png")
    drawn.save(numpy.ones((72, 96), bool), other / "masks/3.png")
    drawn.save(numpy.zeros((96, 72, 3), numpy.uint8), other / "poses/0.png")
    (other / "poses/1.png").unlink()
    printed = run(folder)
    reasons = {image: one["reasons"] for (method, image), one in scores_by_pair(folder).items() if method == OTHER}
    assert "structure: generated: missing file" in reasons["0.png"]
    assert "pose: no pose in the generated image" in reasons["0.png"]
    assert "texture: generated: unreadable file" in reasons["1.png"]
    assert "pose: generated pose: missing file" in reasons["1.png"]
    assert "keypoints: empty mask of the generated image" in reasons["2.png"]
    assert "structure: mask of another size than the generated image: 96 × 72 for 72 × 96 pixels" in reasons["3.png"]
    found = cell(folder, OTHER, "CAMI-U")
    assert found["mean"] == ""
    assert found["reason"] == "generated: missing file"
    assert cell(folder, OTHER, "pose")["pictures"] == "2"
    assert "(2 of 4)" in printed
    assert "Pairs without a score" in printed
    alone = ("mean", "low", "high", "pictures")
    assert [cell(folder, OURS, "CAMI-U")[name] for name in alone] == [whole[name] for name in alone]


def test_pairs_without_masks_are_scored_whole_and_counted(folder: Path):
    for mask in (folder / "other/masks").iterdir():
        mask.unlink()
    (folder / "other/masks").rmdir()
    printed = run(folder)
    assert "Pairs without a mask" in printed
    assert cell(folder, OTHER, "CAMI-U")["pictures"] == "4"


def test_masked_images_are_not_compared_with_whole_ones(folder: Path):
    shutil.copytree(folder / "ours", folder / "whole")
    shutil.rmtree(folder / "whole/masks")
    for mode in ("corrected", "published"):
        printed = run(folder, "--method", f"whole={folder / 'whole'}", "--mode", mode)
        whole = cell(folder, "whole", "CAMI-U")
        assert (whole["difference"], whole["p"]) == ("", "")
        assert "not compared: masks differ" in whole["note"]
        assert f"{float(whole['mean']):.3f}" in printed and "†" in printed
        assert "not compared: masks differ" in printed
        assert "textdagger" in (folder / "out/table.tex").read_text()
        assert cell(folder, "whole", "pose")["difference"] == "0.0"  # needs no mask
        assert cell(folder, OTHER, "CAMI-U")["p"] == "0.125"


def test_images_of_another_size_are_marked_and_in_published_mode_not_compared(folder: Path):
    for name in ("", "masks/"):
        for path in (folder / "other" / name).glob("*.png"):
            Image.open(path).resize((90, 120)).save(path)
    assert "‡" in run(folder)
    other = cell(folder, OTHER, "CAMI-U")
    assert "other size than the reference" in other["note"] and other["p"] == "0.125"
    run(folder, "--mode", "published")
    other = cell(folder, OTHER, "CAMI-U")
    assert "not compared: sizes differ" in other["note"] and other["p"] == ""


def test_means_over_the_images_that_all_methods_have_stand_beside_the_others(folder: Path):
    assert "Over the images that all methods have" not in run(folder)
    (folder / "other/3.png").unlink()
    assert "Over the images that all methods have" in run(folder)
    rows = scores_by_pair(folder)
    common = [float(rows[OURS, f"{i}.png"]["CAMI-U"]) for i in range(3)]
    assert float(cell(folder, OURS, "CAMI-U")["common_mean"]) == pytest.approx(numpy.mean(common))
    assert cell(folder, OURS, "CAMI-U")["common_pictures"] == "3"


def test_a_garment_is_the_same_however_its_path_is_spelled(folder: Path):
    run(folder)
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    again = []
    for row in rows:
        again.append(row | {"picture": f"again_{row['picture']}", "garment": f"../{folder.name}/{row['garment']}"})
        for method in ("ours", "other"):
            for part, name in (("", row["picture"]), ("masks/", row["picture"]), ("poses/", row["picture"])):
                source = folder / method / part / name
                shutil.copy(source, source.with_name(f"again_{name}"))
    once = cell(folder, OTHER, "CAMI-U")
    drawn.write_manifest([*rows, *again], folder / "manifest.csv")
    run(folder)
    twice = cell(folder, OTHER, "CAMI-U")
    assert (twice["garments"], twice["p"], twice["pictures"]) == ("4", once["p"], "8")
    assert float(twice["low"]) == pytest.approx(float(once["low"]))


def test_a_image_without_a_face_has_no_face_score():
    face = numpy.ones(512) / numpy.sqrt(512)
    assert face_similarity(face, face) == pytest.approx(1)
    assert "no face in the generated image" in str(face_similarity(face, None))
    assert "no face in the image of the face asked for" in str(face_similarity(None, face))
    assert "not a number" in str(face_similarity(face, face * numpy.nan))


def test_what_is_not_given_is_said_by_its_name():
    (found,) = score([PairContent(generated=drawn.skeleton())], POSE, lambda pairs: [])
    assert isinstance(found["pose"], NoScore)
    assert found["pose"].reason == "no pose given"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--score", "fid"), "--score fid is unknown. There are cami-u, pose"),
        (("--method", f"{OURS}=."), "is given 2 times"),
        (("--method", "ours"), "write NAME=FOLDER"),
        (("--compare", "ours"), f"--compare ours is no method of this run. There are {OURS}, {OTHER}"),
        (("--weights", "pose=x"), "--weights pose=x: write NAME=PATH"),
        (("--device", "cdua"), "--device cdua cannot be used"),
        (("--device", "cuda:99"), "PyTorch finds these devices here: cpu"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_scored(folder: Path, more: tuple[str, ...], message: str):
    with pytest.raises(IMAGDressingError, match=message):
        run(folder, *more)
    assert not (folder / "out").exists()


def test_the_command_ends_with_one_line_and_no_traceback(folder: Path):
    (folder / "manifest.csv").write_text("picture,garment\n")
    code, _, errors = finished(start(folder))
    assert code == 2
    assert "manifest.csv holds no image" in errors
    assert "Traceback" not in errors


def test_a_missing_library_is_named_with_the_command_that_installs_it(folder: Path):
    hide = "import sys; sys.modules['cv2'] = None; sys.argv[0] = 'metrics'; "
    code = hide + "from imagdressing_core.metrics.__main__ import main; main()"
    command = [sys.executable, "-c", code, *arguments(folder)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2
    assert "CAMI needs the package cv2" in result.stderr
    assert f'pip install "{REPOSITORY}[evaluation]"' in result.stderr
    assert "Traceback" not in result.stderr


# Going on, and side by side


def test_nothing_is_scored_twice_until_its_files_change(folder: Path):
    assert done_at_the_start(folder) == (0, 16)
    assert done_at_the_start(folder) == (16, 16)
    assert done_at_the_start(folder, "published") == (0, 16)
    image, where = drawn.worn(*drawn.garment(2), seed=9)
    drawn.save(image, folder / "ours/2.png")
    drawn.save(where, folder / "ours/masks/2.png")
    assert done_at_the_start(folder) == (15, 16)


def test_a_missing_file_is_looked_for_again(folder: Path):
    saved = (folder / "ours/0.png").read_bytes()
    (folder / "ours/0.png").unlink()
    run(folder)
    assert scores_by_pair(folder)[OURS, "0.png"]["CAMI-U"] == ""
    (folder / "ours/0.png").write_bytes(saved)
    run(folder)
    assert float(scores_by_pair(folder)[OURS, "0.png"]["CAMI-U"]) > 2


def test_a_line_cut_off_by_a_kill_costs_its_own_score_only(folder: Path):
    run(folder)
    table = (folder / "out/table.csv").read_text()
    kept = folder / "out/scores-0.jsonl"
    kept.write_bytes(kept.read_bytes()[:-25])
    assert done_at_the_start(folder) == (15, 16)
    assert done_at_the_start(folder) == (16, 16)
    run(folder)
    assert (folder / "out/table.csv").read_text() == table


def test_a_killed_run_goes_on_to_the_same_table(tmp_path: Path):
    drawn.evaluation(tmp_path, ("ours", "other"), garments=60)
    process = start(tmp_path)
    kept = tmp_path / "out/scores-0.jsonl"
    while not (kept.exists() and kept.stat().st_size > 500):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    finished(process)
    done, total = done_at_the_start(tmp_path)
    assert 0 < done < total == 240
    run(tmp_path)
    resumed = (tmp_path / "out/table.csv").read_text()
    run(tmp_path, "--output", str(tmp_path / "again"))
    assert (tmp_path / "again/table.csv").read_text() == resumed


def test_several_processes_give_the_same_table_as_one(folder: Path):
    run(folder)
    table = (folder / "out/table.csv").read_text()
    run(folder, "--processes", "2", "--output", str(folder / "parallel"))
    assert (folder / "parallel/table.csv").read_text() == table


def test_launched_processes_share_the_work_and_the_first_writes_the_table(folder: Path):
    run(folder)
    table = (folder / "out/table.csv").read_text()
    code, _, errors = finished(launch(folder, "--output", str(folder / "launched")))
    assert code == 0, errors
    assert (folder / "launched/table.csv").read_text() == table
    lines = [len((folder / f"launched/scores-{i}.jsonl").read_text().strip().splitlines()) for i in range(2)]
    assert lines == [8, 8]
    assert json.loads((folder / "launched/evaluation.json").read_text())["processes"] == "2"
    assert errors.count("16 pairs") + errors.count("8 pairs of") == 1  # the first line, once


def machines(*arguments_of: Sequence[str]) -> list[tuple[int, str, str]]:
    """Run the command on two machines, as a launcher starts it there, each with its own arguments."""
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    command = [sys.executable, "-m", "imagdressing_core.metrics"]
    started = [_start([*command, *more], there | {"RANK": str(rank)}) for rank, more in enumerate(arguments_of)]
    return [finished(one) for one in started]


@pytest.mark.parametrize("part", ["methods", "scores", "manifest"])
def test_machines_with_different_tasks_stop_before_anything_is_scored(folder: Path, part: str):
    first = arguments(folder)
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    drawn.write_manifest(rows[::-1], folder / "reversed.csv")
    second = {
        "methods": [*first[:2], *first[4:6], *first[2:4], *first[6:]],
        "scores": first[:-2],
        "manifest": ["evaluate", str(folder / "reversed.csv"), *first[2:]],
    }[part]
    for code, _, errors in machines(first, second):
        assert code == 2
        assert f"The processes have different tasks, so nothing is scored: {part} of process" in errors
    assert not (folder / "out").exists()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# The report


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Path]:
    """An evaluation whose names and prompts would be code where they are not taken as text."""
    rows = drawn.evaluation(tmp_path, ("ours", "other"), garments=2)
    rows[0]["prompt"] = "<script>alert(1)</script>"
    drawn.write_manifest(rows, tmp_path / "manifest.csv")
    yield tmp_path


def test_names_and_prompts_are_text_in_every_format(hostile: Path):
    run(hostile, "--method", f"a|b & <b>c_d={hostile / 'other'}")
    page = (hostile / "out/report.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a|b &amp; &lt;b&gt;c_d" in page
    assert r"a\|b & <b>c_d" in (hostile / "out/table.md").read_text(encoding="utf-8")
    assert r"a|b \& \ensuremath{<}b\ensuremath{>}c\_d" in (hostile / "out/table.tex").read_text(encoding="utf-8")


def test_the_page_shows_the_images_side_by_side_and_needs_no_other_file(folder: Path):
    (folder / "other/3.png").unlink()
    run(folder)
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/webp;base64,') == 4 + 2 * 4 + 2 * 4 - 1
    assert page.count('<div class="missing">no image</div>') == 1
    assert "http" not in page
    run(folder, "--pictures", "1")
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/webp;base64,') == 1 + 2 * 2
    assert "3 more rows of the manifest are scored but not shown" in page


def test_latex_has_signs_that_it_can_set(folder: Path):
    run(folder)
    text = (folder / "out/table.tex").read_text(encoding="utf-8")
    assert text.isascii()
    assert r"CAMI-U $\uparrow$" in text and r"MP-LPIPS $\downarrow$" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 5 + 2  # headings, the paper's Table 2, two methods
    assert r"\begin{tabular}{llrrrrr}" in text and "$-$2.224" in text
    assert rows[1:][-1].startswith(OURS) and text.count(r"\textbf{") == 1


def test_every_file_says_what_made_it(folder: Path):
    run(folder)
    origin = json.loads((folder / "out/evaluation.json").read_text())
    assert {"version", "command", "date", "device", "methods", "scores", "mode", "manifest"} <= origin.keys()
    for name in ("report.html", "table.md", "table.tex"):
        text = (folder / "out" / name).read_text(encoding="utf-8")
        assert origin["date"] in text and origin["run"] in text and origin["version"] in text
    for name in ("table.csv", "scores.csv", "garments.csv"):
        assert {one["run"] for one in records(folder, name)} == {origin["run"]}


def test_many_rows_are_spread_over_pages(tmp_path: Path):
    rows = drawn.evaluation(tmp_path, ("ours", "other"), garments=2)
    many = []
    for i in range(101):
        for method in ("ours", "other"):
            shutil.copy(tmp_path / method / rows[0]["picture"], tmp_path / method / f"copy_{i}.png")
        many.append(rows[0] | {"picture": f"copy_{i}.png", "pose": ""})
    drawn.write_manifest(many, tmp_path / "manifest.csv")
    run(tmp_path, "--pictures", "101")
    assert 'href="report-2.html"' in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "copy_100.png" in (tmp_path / "out/report-2.html").read_text(encoding="utf-8")


def test_the_command_and_the_docs_list_the_corrections_from_one_table():
    printed = CliRunner().invoke(app, ["corrections"]).output
    docs = (REPOSITORY / "docs/evaluation.md").read_text(encoding="utf-8")
    listed = corrections("corrected")
    rows = listed.frame.values.tolist()
    assert len(rows) == len(CORRECTIONS) + len(REPAIRS)
    assert printed.strip() == wrapped(listed)
    for row in rows:
        assert f"| {' | '.join(row)} |" in docs


def test_kept_scores_are_one_json_value_a_line(folder: Path):
    run(folder)
    lines = (folder / "out/scores-0.jsonl").read_text(encoding="utf-8").strip().splitlines()
    assert len({json.loads(line)[0] for line in lines}) == len(lines) == 16
