"""A whole run in minutes on any machine: drawn pairs, a tiny random Stable Diffusion, every command of a real run."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

from ..errors import IMAGDressingError
from .config import read_config
from .log import METRICS
from .setup import sigterm
from .tiny_models import save_tiny_models

WIDTH, HEIGHT = 64, 80
PAIRS, UNSEEN = 64, 8
SHIRT = ((20, 14), (44, 14), (58, 34), (48, 42), (44, 36), (44, 70), (20, 70), (20, 36), (16, 42), (6, 34))
POLL_SECONDS = 0.1
COMMAND = (sys.executable, "-m", "imagdressing_core.training")


def trial(folder: Path, steps: int, say: Callable[[str], None]) -> None:
    """Draw pairs, make tiny models, and run check, cache, train and export on them as a user would.

    Args:
        folder: Everything is written here; it must be new or empty.
        steps: Of the training, at least 4.
        say: Is told what happens.

    Raises:
        IMAGDressingError: the folder is not empty, a command fails or is stopped, or the validation loss does not fall.
    """
    if folder.exists() and any(folder.iterdir()):
        raise IMAGDressingError(f"{folder} is not empty. Name a new folder.")
    say(f"Drawing {PAIRS} pairs and {UNSEEN} unseen ones, and making a tiny random Stable Diffusion in {folder} …")
    save_tiny_models(folder / "models")
    draw_pairs(folder / "pairs", range(PAIRS))
    draw_pairs(folder / "unseen", range(PAIRS, PAIRS + UNSEEN))
    configuration = folder / "run.toml"
    configuration.write_text(_configuration(folder.resolve(), steps), encoding="utf-8")
    for arguments in (
        ("check", str(configuration)),
        ("cache", str(configuration)),
        ("train", str(configuration)),
        ("export", str(folder / "run"), str(folder / "mine")),
    ):
        say(f"\n$ python {' '.join([*COMMAND[1:], *arguments])}")
        status, stopped = _run([*COMMAND, *arguments])
        if stopped:
            raise IMAGDressingError(f"SIGTERM stopped the trial in the command {arguments[0]}.")
        if status:
            raise IMAGDressingError(f"The command {arguments[0]} failed; its own message says why.")
    _say_result(read_config(configuration).run.output, folder, say)


def _run(command: list[str]) -> tuple[int, bool]:
    """Return the status of ``command``, and whether SIGTERM came, which is passed on to it."""
    with sigterm() as received, subprocess.Popen(command) as process:
        while process.poll() is None:
            if received.wait(POLL_SECONDS):
                process.terminate()
                process.wait()
        return process.returncode, received.is_set()


def draw_pairs(folder: Path, numbers: range) -> None:
    """Write a person in a striped shirt, the shirt on white, and ``manifest.jsonl``, for each number."""
    folder.mkdir(parents=True)
    lines: list[str] = []
    for i in numbers:
        draw = random.Random(i)
        cloth, stripe, scene = (tuple(draw.randrange(256) for _ in range(3)) for _ in range(3))
        shirt = Image.new("RGB", (WIDTH, HEIGHT), cloth)
        for y in range(0, HEIGHT, 10):
            ImageDraw.Draw(shirt).rectangle((0, y, WIDTH, y + 4), stripe)
        outline = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(outline).polygon(SHIRT, 255)
        person = Image.new("RGB", (WIDTH, HEIGHT), scene)
        ImageDraw.Draw(person).ellipse((24, 0, 40, 18), (224, 180, 150))
        for name, under in (("garment", Image.new("RGB", (WIDTH, HEIGHT), "white")), ("person", person)):
            Image.composite(shirt, under, outline).save(folder / f"{name}{i}.png")
        line = {"person": f"person{i}.png", "garment": f"garment{i}.png", "captions": ["a person in a shirt"]}
        lines.append(json.dumps(line) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")


def _configuration(folder: Path, steps: int) -> str:
    """Return the TOML of the run, with the entries of a real one; docs/training.md says what each is for."""

    def path(name: str) -> str:
        return json.dumps((folder / name).as_posix())  # JSON's strings are TOML's too

    half, quarter = max(1, steps // 2), max(1, steps // 4)
    return f"""\
[models]
base = {path("models")}
image_encoder = {path("models/image_encoder")}

[data]
format = "folder"
path = {path("pairs")}
width = {WIDTH}
height = {HEIGHT}
cache = {path("cache")}
workers = 0

[optimiser]
learning_rate = 3e-3
warmup_steps = 2

[run]
output = {path("run")}
steps = {steps}
batch = 4
ema_decay = 0.95
save_every = {half}
log_every = {quarter}
trackers = []

[validation]
path = {path("unseen")}
every = {quarter}
pairs = {UNSEEN}
pictures = 2
"""


def _say_result(output: Path, folder: Path, say: Callable[[str], None]) -> None:
    lines = [json.loads(line) for line in (output / METRICS).read_text(encoding="utf-8").splitlines()]
    losses = [one["validation_loss"] for one in lines if "validation_loss" in one]
    fell = f"The loss on garments that training never saw went from {losses[0]:.4f} to {losses[-1]:.4f}"
    if losses[-1] >= losses[0]:
        raise IMAGDressingError(f"{fell}: it did not fall. Take more --steps; if it still does not, report it.")
    say(
        f"\n{fell}: training works here. {folder / 'mine.safetensors'} has the form of a real result; its images say "
        f"nothing, since the models are tiny and random. Put your own models and photos into {folder / 'run.toml'} for "
        "a real run."
    )
