"""The report's files: pages, Markdown, LaTeX and CSV."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import drawn
from support.comfyui_release import REPOSITORY
from support.evaluating import (
    OURS,
    records,
    run,
)
from typer.testing import CliRunner

from imagdressing_core.metrics.__main__ import app
from imagdressing_core.metrics.paper import CORRECTIONS, REPAIRS
from imagdressing_core.metrics.report import corrections, wrapped

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


def test_latex_leaves_the_hyphens_of_names_as_they_are(folder: Path):
    command = ["evaluate", str(folder / "manifest.csv"), "--output", str(folder / "out")]
    command += ["--method", f"SD-1.5={folder / 'ours'}", "--method", f"B={folder / 'other'}"]
    CliRunner().invoke(app, command, catch_exceptions=False)
    text = (folder / "out/table.tex").read_text()
    assert "SD-1.5" in text.partition("toprule")[2] and "$-$2.224" in text


def test_scores_that_nobody_asked_for_have_no_table(folder: Path):
    assert "in the paper" not in run(folder)


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
