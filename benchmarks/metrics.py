"""The evaluation's speed: corner matching, and CAMI-U of many pairs. Writes ``results/metrics.json``.

Each is measured beside the straightforward way in one run, on images drawn here.
"""

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy
from PIL import Image, ImageDraw, ImageFilter

from imagdressing_core.metrics.manifest import Case, Method, PairFiles
from imagdressing_core.metrics.outcome import total
from imagdressing_core.metrics.paper import CAMI_U_TERMS, Mode
from imagdressing_core.metrics.run import Setting, evaluate
from imagdressing_core.metrics.scoring import SCORERS

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "metrics.json"

POINTS = 12_000
PHOTOGRAPH, GENERATED = (768, 1024), (512, 640)
GARMENTS, PAIRS = 20, 1000
RIVAL_PAIRS = 100  # of the same; it takes too long for all
PROCESSES = 2
SHAPES = 40  # printed on each garment


def measure_matching(way: str) -> None:
    """Match two sets of corners in this process; print seconds, and megabytes beyond those before."""
    from support import straightforward_cami

    from imagdressing_core.metrics import cami

    rng = numpy.random.default_rng(0)
    points, others = (rng.integers(0, GENERATED[::-1], (POINTS, 2)) for _ in range(2))
    match = {
        "KD-tree": cami.mean_nearest,
        "full matrix": lambda a, b: float(straightforward_cami.nearest(a, b).mean()),
    }[way]
    match(points[:10], others[:10])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    distance = match(points, others)
    seconds = time.perf_counter() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "megabytes": megabytes, "mean_distance": distance}))


def matching() -> dict[str, Any]:
    """Return both ways of matching, each measured in a process of its own."""
    found = {}
    for way in ("KD-tree", "full matrix"):
        command = [sys.executable, __file__, "--matching", way]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def draw_pairs(folder: Path) -> list[tuple[Path, Path, Path]]:
    """Draw garments, and images in which they are worn, with masks; return (garment, image, mask)."""
    for name in ("garments", "worn/masks"):
        (folder / name).mkdir(parents=True)
    rng = numpy.random.default_rng(0)
    shape = Image.new("L", PHOTOGRAPH)
    ImageDraw.Draw(shape).polygon(
        [(130, 150), (640, 150), (760, 500), (600, 520), (600, 960), (170, 960), (8, 500)], 255
    )
    garments = [_print(rng) for _ in range(GARMENTS)]
    for i, cloth in enumerate(garments):
        Image.composite(cloth, Image.new("RGB", PHOTOGRAPH, "white"), shape).save(folder / f"garments/{i}.png")
    found = []
    for i in range(PAIRS):
        scene = Image.fromarray(rng.integers(90, 150, (*GENERATED[::-1], 3), dtype=numpy.uint8))
        box = (int(rng.integers(60, 110)), int(rng.integers(100, 150)))
        size = (int(rng.integers(280, 330)), int(rng.integers(380, 430)))
        worn = garments[i % GARMENTS].resize(size).filter(ImageFilter.GaussianBlur(0.7))
        outline = shape.resize(size, Image.Resampling.NEAREST)
        mask = Image.new("L", GENERATED)
        mask.paste(outline, box)
        scene.paste(worn, box, outline)
        scene.save(folder / f"worn/{i}.png", compress_level=1)
        mask.save(folder / f"worn/masks/{i}.png")
        found.append(
            (folder / f"garments/{i % GARMENTS}.png", folder / f"worn/{i}.png", folder / f"worn/masks/{i}.png")
        )
    return found


def _print(rng: numpy.random.Generator) -> Image.Image:
    cloth = Image.new("RGB", PHOTOGRAPH, tuple(int(value) for value in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(cloth)
    for _ in range(SHAPES):
        x, y, side = (int(value) for value in (*rng.integers(0, PHOTOGRAPH), rng.integers(20, 70)))
        draw.rectangle((x, y, x + side, y + side), tuple(int(value) for value in rng.integers(0, 256, 3)))
    weave = rng.normal(0, 2, (*PHOTOGRAPH[::-1], 1))
    return Image.fromarray((numpy.array(cloth) + weave).clip(0, 255).astype(numpy.uint8))


def straightforward(files: Sequence[tuple[Path, Path, Path]]) -> tuple[float, list[float]]:
    """Return pairs per second, and the scores, of a loop of the published functions."""
    import cv2
    from support import straightforward_cami

    scores = []
    start = time.perf_counter()
    for garment, worn, mask in files:
        cut_out = straightforward_cami.read_cut_out(str(worn), str(mask))
        scores.append(sum(straightforward_cami.cami_u(cv2.imread(str(garment)), cut_out)))
    return len(files) / (time.perf_counter() - start), scores


def ours(folder: Path, mode: Mode, count: int) -> tuple[float, list[float]]:
    """Return pairs per second, and the scores, of the command's engine."""
    method = Method("worn", folder / "worn")
    pairs = [PairFiles(method, Case(f"{i}.png", folder / f"garments/{i % GARMENTS}.png")) for i in range(count)]
    setting = Setting(mode, PROCESSES)
    start = time.perf_counter()
    scores, _ = evaluate(pairs, SCORERS[:1], setting, folder / mode, lambda done, total: None)
    seconds = time.perf_counter() - start
    return count / seconds, [cast(float, total(one, CAMI_U_TERMS)) for one in scores]


def count_corners(files: Sequence[tuple[Path, Path, Path]]) -> dict[str, int]:
    """Return how many corners the official code finds, as means."""
    import cv2
    from support import straightforward_cami

    photographs = [cv2.imread(str(garment)) for garment, _, _ in files[:GARMENTS]]
    worn = [straightforward_cami.read_cut_out(str(image), str(mask)) for _, image, mask in files[:GARMENTS]]
    return {
        name: round(float(numpy.mean([len(straightforward_cami.corners(one)) for one in images])))
        for name, images in (("photograph", photographs), ("generated", worn))
    }


def main() -> None:
    matched = matching()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = draw_pairs(folder)
        rival, rival_scores = straightforward(files[:RIVAL_PAIRS])
        published, published_scores = ours(folder, "published", PAIRS)
        corrected, _ = ours(folder, "corrected", PAIRS)
        corners = count_corners(files)
    worst = max(abs(a - b) for a, b in zip(rival_scores, published_scores, strict=False))
    tree, matrix = matched["KD-tree"], matched["full matrix"]
    result = {
        "machine": f"{platform.machine()}, {PROCESSES} cores, Python {platform.python_version()}",
        "corner_matching": {"points": POINTS, **matched},
        "cami_u": {
            "pairs": PAIRS,
            "size": "512 × 640",
            "mean_corners": corners,
            "processes": PROCESSES,
            "published_pairs_per_second": round(published, 2),
            "corrected_pairs_per_second": round(corrected, 2),
            "straightforward_pairs": RIVAL_PAIRS,
            "straightforward_pairs_per_second": round(rival, 2),
            "largest_difference_from_straightforward": worst,
        },
        "ratios": [
            {
                "name": "corner matching, time, full matrix / KD-tree",
                "ratio": round(matrix["seconds"] / tree["seconds"], 1),
            },
            {
                "name": "CAMI-U published, pairs per second, ours / straightforward",
                "ratio": round(published / rival, 2),
            },
            {
                "name": "CAMI-U corrected, pairs per second, ours / straightforward",
                "ratio": round(corrected / rival, 2),
            },
        ],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    measure_matching(sys.argv[-1]) if "--matching" in sys.argv else main()
