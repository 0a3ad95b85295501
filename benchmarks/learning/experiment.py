"""Does a garment that training never saw arrive on the figure? Trained by the pack's trainer, measured on pictures.

``python benchmarks/learning/experiment.py prepare|train|measure``, in this order, after ``base.py``; all on the CPU.
``measure`` writes ``result.json``, ``curve.png`` and ``pictures.png`` beside this file.
"""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy
import torch
from base import FOLDER, REPOSITORY
from drawings import (
    PATTERNS,
    POSES,
    GarmentDesign,
    Pose,
    caption,
    design,
    draw_figure,
    draw_garment,
    latents,
    pictures,
    torso,
)
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from imagdressing_core.on_diffusers.pipeline import denoise, images_from_pixels, official_scheduler, text_embeddings
from imagdressing_core.on_diffusers.unet import GarmentInputs
from imagdressing_core.training.cache import Cache, build_cache
from imagdressing_core.training.config import TrainingConfig, read_config
from imagdressing_core.training.data import whole_pairs
from imagdressing_core.training.model import load_models
from imagdressing_core.training.pairs import TrainingPair
from imagdressing_core.training.state import EMA, require_state
from imagdressing_core.training.validation import sheet

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "config.toml"
TRAINING_PAIRS, UNSEEN = 2000, 48
FIRST_UNSEEN = 1_000_000
SEED, STEPS, GUIDANCE = 123, 20, 2.0
SHOWN = 10


def prepare() -> None:
    """Draw all pairs and fill the cache, with mean colours in place of a VAE's latents."""
    for name, first, count in (("pairs", 0, TRAINING_PAIRS), ("unseen", FIRST_UNSEEN, UNSEEN)):
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        for number in range(first, first + count):
            pose = pose_of(number)
            draw_figure(pose, design(number)).save(folder / f"{number}_figure.png")
            draw_garment(design(number)).save(folder / f"{number}_garment.png")
            entry = {"person": f"{number}_figure.png", "garment": f"{number}_garment.png", "captions": [caption(pose)]}
            lines.append(json.dumps(entry))
        (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    config = read_config(CONFIG)
    frozen, _ = load_models(config.models)
    with torch.no_grad():
        for _ in build_cache(config, PixelVAE(), frozen.image_encoder):
            pass


class PixelVAE:
    """Stands in for a VAE: the latents are mean colours, and there is no doubt about them."""

    device, dtype = torch.device("cpu"), torch.float32

    def encode(self, pixels: Tensor) -> Any:
        mean = latents(images_from_pixels(pixels))
        return SimpleNamespace(latent_dist=SimpleNamespace(parameters=torch.cat((mean, mean * 0 - 30), dim=1)))


def train() -> None:
    subprocess.run(
        [sys.executable, "-m", "imagdressing_core.training", "train", str(CONFIG)], check=True, cwd=REPOSITORY
    )


def measure() -> None:
    """Dress each unseen garment in its figure's pose: with itself, with another one, and at λ = 0."""
    config = read_config(CONFIG)
    numbers = range(FIRST_UNSEEN, FIRST_UNSEEN + UNSEEN)
    pairs = whole_pairs(config.data, config.validation.path if config.validation else None)
    other = [pairs[(i + 1) % UNSEEN] for i in range(UNSEEN)]
    made = {
        "its own garment": dress(config, pairs, pairs, 1.0),
        "another garment": dress(config, pairs, other, 1.0),
        "λ = 0": dress(config, pairs, pairs, 0.0),
    }
    scores = {name: score(images, numbers) for name, images in made.items()}
    result = {
        "seeds": {"sampling": SEED, "training": config.run.seed, "unseen garments": [FIRST_UNSEEN, UNSEEN]},
        "steps": config.run.steps,
        "batch": config.run.batch,
        "scores, mean and standard error": scores,
        "validation_loss": curve(config),
    }
    (HERE / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    show(made, numbers)
    plot(config)
    print(json.dumps(scores, indent=2, ensure_ascii=False))


@torch.no_grad()
def dress(
    config: TrainingConfig, pairs: Sequence[TrainingPair], garments: Sequence[TrainingPair], strength: float
) -> list[Image.Image]:
    """Return a figure for each pair's caption in the garment given, from the same noise every time."""
    frozen, garment = load_models(config.models, with_image_encoder=False)
    garment.load_state_dict(load_file(require_state(config.run.output) / EMA))
    cache = Cache(config.data.cache or Path())
    found = [cache.read(pair) for pair in garments]
    latent = torch.stack([one["garment"] for one in found]).chunk(2, dim=1)[0]
    parts = garment(latent, torch.stack([one["clip"] for one in found]))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(SEED))
    text, empty = (
        text_embeddings(frozen.text_encoder, frozen.tokenizer, texts, "cpu")
        for texts in ([pair.captions[0] for pair in pairs], [""] * len(pairs))
    )
    worn = GarmentInputs(parts, strength)
    return pictures(denoise(frozen.unet, noise, text, empty, worn, official_scheduler(), STEPS, GUIDANCE))


def score(images: list[Image.Image], numbers: range) -> dict[str, tuple[float, float]]:
    """Return how near the torsos are to the garments that they should wear, (mean, standard error) over the pictures.

    colour_error: distance of the torso's mean colour from the garment's, 0 … 1. pixel_error: root mean square over the
    torso. pattern_accuracy: how often, of all patterns in the garment's colours, the right one is nearest.
    place_followed, arms_followed: how often the figure stands as its caption says, which is the base's doing.
    """
    rows = [_score(image, pose_of(number), design(number)) for image, number in zip(images, numbers, strict=True)]
    values = {name: numpy.array([row[name] for row in rows]) for name in rows[0]}
    error = len(rows) ** -0.5
    return {
        name: (round(float(one.mean()), 4), round(float(one.std(ddof=1)) * error, 4)) for name, one in values.items()
    }


def _score(image: Image.Image, asked: Pose, garment: GarmentDesign) -> dict[str, float]:
    pose = standing(image)
    mask = numpy.array(torso(pose)) > 0

    def cloth(picture: Image.Image) -> Any:
        return numpy.array(picture)[mask] / 255  # (pixels, 3)

    def distance(pattern: str) -> float:
        truth = draw_figure(pose, GarmentDesign(garment.light, garment.dark, pattern))
        return float(numpy.square(cloth(image) - cloth(truth)).mean() ** 0.5)

    truth = cloth(draw_figure(pose, garment))
    return {
        "colour_error": float(numpy.linalg.norm(cloth(image).mean(axis=0) - truth.mean(axis=0)) / 3**0.5),
        "pixel_error": distance(garment.pattern),
        "pattern_accuracy": float(min(PATTERNS, key=distance) == garment.pattern),
        "place_followed": float(pose[0] == asked[0]),
        "arms_followed": float(pose[1] == asked[1]),
    }


def standing(image: Image.Image) -> Pose:
    """Return the pose whose figure is nearest to the picture outside of the torso: where the garment is looked for."""

    def distance(pose: Pose) -> float:
        body = numpy.array(torso(pose)) == 0
        drawn = draw_figure(pose, design(0))  # in any garment
        return float(numpy.square(numpy.array(image)[body] - numpy.array(drawn)[body] * 1.0).mean())

    return min(POSES, key=distance)


def pose_of(number: int) -> Pose:
    return random.Random(f"pose {number}").choice(POSES)


def curve(config: TrainingConfig) -> list[tuple[int, float]]:
    """Return (step, loss on unseen pairs)."""
    lines = [json.loads(line) for line in (config.run.output / "metrics.jsonl").read_text().splitlines()]
    return sorted({line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}.items())


def show(made: dict[str, list[Image.Image]], numbers: range) -> None:
    """Save rows of: the garment, the truth, and what was made."""
    columns = list(zip(*made.values(), strict=True))
    rows = [
        [draw_garment(design(number)), draw_figure(pose_of(number), design(number)), *column]
        for number, column in list(zip(numbers, columns, strict=True))[:SHOWN]
    ]
    turned = sheet([list(column) for column in zip(*rows, strict=True)])
    turned.resize((turned.width * 3, turned.height * 3), Image.Resampling.NEAREST).save(HERE / "pictures.png")


def plot(config: TrainingConfig) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in (config.run.output / "metrics.jsonl").read_text().splitlines()]
    training = {line["step"]: line["loss"] for line in lines if "loss" in line}
    figure, axes = pyplot.subplots(figsize=(6, 3.5), dpi=100)
    axes.plot(list(training), list(training.values()), linewidth=0.8, alpha=0.5, label="training batches")
    axes.plot(*zip(*curve(config), strict=True), marker="o", label="unseen pairs, averaged weights")
    axes.set(xlabel="step", ylabel="‖ε_θ − ε‖²", yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(HERE / "curve.png")


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "measure": measure}[sys.argv[1]]()
