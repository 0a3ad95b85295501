"""Garments, people who wear them, and an evaluation's folders, drawn in a moment."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageDraw

PHOTOGRAPH, GENERATED = (96, 120), (72, 96)
BOX = (14, 30, 62, 90)  # where a garment is worn


def garment(seed: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return a garment's photograph on white and its mask."""
    rng = numpy.random.default_rng(seed)
    cloth = Image.new("RGB", PHOTOGRAPH, tuple(int(value) for value in rng.integers(0, 200, 3)))
    draw = ImageDraw.Draw(cloth)
    for _ in range(14):
        x, y, side = (int(value) for value in (*rng.integers(0, 90, 2), rng.integers(8, 24)))
        draw.rectangle((x, y, x + side, y + side), tuple(int(value) for value in rng.integers(0, 256, 3)))
    shape = Image.new("L", PHOTOGRAPH)
    ImageDraw.Draw(shape).polygon([(16, 8), (80, 8), (90, 60), (76, 62), (76, 112), (20, 112), (20, 62), (6, 60)], 255)
    photograph = Image.composite(cloth, Image.new("RGB", PHOTOGRAPH, "white"), shape)
    return numpy.array(photograph), numpy.array(shape) > 127


def worn(photograph: numpy.ndarray, mask: numpy.ndarray, seed: int = 0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return an image in which the garment is worn, smaller and somewhere in a scene, and where it is."""
    rng = numpy.random.default_rng(seed)
    scene = Image.fromarray(rng.integers(60, 180, (*GENERATED[::-1], 3), dtype=numpy.uint8))
    rows, columns = numpy.flatnonzero(mask.any(1)), numpy.flatnonzero(mask.any(0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    size = BOX[2] - BOX[0], BOX[3] - BOX[1]
    outline = Image.fromarray(mask[cut]).resize(size, Image.Resampling.NEAREST)
    scene.paste(Image.fromarray(photograph[cut]).resize(size, Image.Resampling.BOX), BOX[:2], outline)
    where = Image.new("L", GENERATED)
    where.paste(outline.convert("L"), BOX[:2])
    return numpy.array(scene), numpy.array(where) > 127


def skeleton(shift: int = 0) -> numpy.ndarray:
    """Return a drawn pose."""
    image = Image.new("RGB", GENERATED)
    draw = ImageDraw.Draw(image)
    draw.line((36 + shift, 10, 36 + shift, 60), "#ff5500", 4)
    draw.line((16 + shift, 30, 56 + shift, 30), "#00ff55", 4)
    return numpy.array(image)


def save(pixels: numpy.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def evaluation(folder: Path, methods: Sequence[str], garments: int = 4) -> list[dict[str, Any]]:
    """Draw ``garments``, and for each method a folder in which it wears them; later methods wear them worse.

    Returns the manifest's rows; ``manifest.csv`` holds them.
    """
    rows = []
    for i in range(garments):
        photograph, mask = garment(i)
        save(photograph, folder / f"garments/{i}.png")
        save(mask, folder / f"garment_masks/{i}.png")
        for worse, method in enumerate(methods):
            image, where = worn(photograph, mask, seed=i)
            noise = numpy.random.default_rng(i).normal(0, 40 * worse, image.shape)
            save((image + noise).clip(0, 255).astype(numpy.uint8), folder / method / f"{i}.png")
            save(where, folder / method / f"masks/{i}.png")
            save(skeleton(i % 8 + worse), folder / method / f"poses/{i}.png")
        rows.append({"picture": f"{i}.png", "garment": f"garments/{i}.png", "garment_mask": f"garment_masks/{i}.png"})
        save(skeleton(i % 8), folder / f"poses/{i}.png")
        rows[-1] |= {"pose": f"poses/{i}.png", "prompt": "a person"}
    write_manifest(rows, folder / "manifest.csv")
    return rows


def write_manifest(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
