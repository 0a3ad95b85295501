"""A tiny training set and its configuration: coloured rectangles, models a few channels wide."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 32, 40


def drawn_image(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    drawn = Image.new("RGB", size, ((seed * 37) % 256, (seed * 91) % 256, (seed * 53) % 256))
    corner = tuple(side * (1 + seed % 3) // 8 for side in size)
    ImageDraw.Draw(drawn).rectangle((*corner, size[0] * 3 // 4, size[1] * 3 // 4), fill=(seed * 11 % 256, 200, 90))
    return drawn


def write_folder(folder: Path, pairs: int = 8) -> Path:
    """Write ``pairs`` persons and garments with a manifest; every image has an aspect of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for i in range(pairs):
        drawn_image(2 * i, (64 + 8 * i, 80)).save(folder / f"person{i}.png")
        drawn_image(2 * i + 1, (80, 64 + 8 * (i % 3))).save(folder / f"garment{i}.png")
        lines.append(
            json.dumps({"person": f"person{i}.png", "garment": f"garment{i}.png", "captions": [f"a {i}", f"the {i}"]})
        )
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_shard(path: Path, folder: Path, numbers: Iterable[int]) -> None:
    """Write pairs of :func:`write_folder` with these numbers as a WebDataset tar."""
    from webdataset.writer import TarWriter

    with TarWriter(str(path)) as tar:
        for key, i in enumerate(numbers):
            parts = {f"{part}.png": (folder / f"{part}{i}.png").read_bytes() for part in ("person", "garment")}
            tar.write({"__key__": f"{key}", **parts, "json": json.dumps({"captions": [f"a {i}"]}).encode()})


def config(models: Path, folder: Path, output: Path, /, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a small run's configuration as TOML has it; ``sections`` change or add entries."""
    plain: dict[str, dict[str, Any]] = {
        "models": {"base": str(models), "image_encoder": str(models / "image_encoder")},
        "data": {"format": "folder", "path": str(folder), "width": WIDTH, "height": HEIGHT, "workers": 0},
        "optimiser": {"learning_rate": 1e-3, "warmup_steps": 2},
        "run": {
            "output": str(output),
            "steps": 4,
            "batch": 2,
            "save_every": 2,
            "log_every": 1,
            "trackers": [],
            "seed": 7,
        },
    }
    for section, entries in sections.items():
        plain[section] = plain.get(section, {}) | entries
    return plain


def write_toml(plain: dict[str, dict[str, Any]], path: Path) -> Path:
    """Write {section: {name: value}} as TOML; JSON's strings, numbers, booleans and lists are TOML's too."""
    lines: list[str] = []
    for section, entries in plain.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in entries.items()), ""]
    path.write_text("\n".join(lines))
    return path


def forget_accelerate() -> None:
    """Let the next run set itself up: accelerate remembers how the process was first set up."""
    AcceleratorState._reset_state(True)  # pyright: ignore[reportPrivateUsage]
