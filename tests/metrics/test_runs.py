"""Runs that resume, run side by side, and stop when their tasks differ."""

import csv
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import drawn
from support.children import free_port
from support.evaluating import (
    OURS,
    arguments,
    done_at_the_start,
    finished,
    launch,
    run,
    scores_by_pair,
    start,
    start_process,
)

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
    started = [start_process([*command, *more], there | {"RANK": str(rank)}) for rank, more in enumerate(arguments_of)]
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


def test_machines_with_other_poses_for_the_same_rows_stop_too(folder: Path):
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    drawn.write_manifest([row | {"pose": rows[0]["pose"]} for row in rows], folder / "other_poses.csv")
    first = arguments(folder)
    for code, _, errors in machines(first, ["evaluate", str(folder / "other_poses.csv"), *first[2:]]):
        assert code == 2
        assert "The processes have different tasks, so nothing is scored: manifest of process" in errors
