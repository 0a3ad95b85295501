"""The evaluation's command as a user runs it, here or in processes of their own, and the files it writes."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from imagdressing_core.metrics.__main__ import app
from imagdressing_core.metrics.manifest import Method, PairFiles, read_manifest
from imagdressing_core.metrics.paper import Mode
from imagdressing_core.metrics.run import Setting, evaluate
from imagdressing_core.metrics.scoring import SCORERS
from support.comfyui_release import REPOSITORY

OURS, OTHER = "IMAGDressing-v1", "IP-Adapter"
CAMI_U, POSE = SCORERS[:2]


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
    return start_process([sys.executable, "-m", "imagdressing_core.metrics", *arguments(folder, *more)])


def start_process(command: list[str], more: dict[str, str] | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | (more or {})
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True)


def launch(folder: Path, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    """Start the command by torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*torchrun, "-m", "imagdressing_core.metrics", *arguments(folder, *more)]
    return start_process(command)


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
