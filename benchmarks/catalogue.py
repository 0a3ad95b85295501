"""How many images a second a catalogue makes on one and on two Ray workers, each with one core of this machine.

python benchmarks/catalogue.py [--garments 20] [--prompts 10]: prints JSON. The models are tiny and random. The rate is
that of the middle half of the images, when all workers run: starting Ray and loading models are left out.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.tiny_models import save_tiny_checkpoint, save_tiny_models
from support.training_set import drawn_image

SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}


def measure(folder: Path, address: str, workers: int, count: int) -> dict[str, Any]:
    out, models = folder / f"workers{workers}", folder / "models"
    command = [sys.executable, "-m", "imagdressing_core.catalogue", str(folder / "garments.csv"), "--out", str(out)]
    command += ["--base", str(models), "--image-encoder", str(models / "image_encoder")]
    command += ["--checkpoint", str(folder / "own.safetensors"), "--prompts", str(folder / "prompts.txt")]
    command += ["--width", "128", "--height", "160", "--steps", "10"]
    start = time.monotonic()
    subprocess.run([*command, "--address", address, "--workers", str(workers)], check=True, capture_output=True)
    wall = time.monotonic() - start
    written = sorted(path.stat().st_mtime for path in (out / "images").glob("*.png"))
    assert len(written) == count
    quarter = count // 4
    rate = (count - 2 * quarter) / (written[count - quarter - 1] - written[quarter - 1])
    return {"workers": workers, "images_per_second": round(rate, 3), "whole_command_seconds": round(wall, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--garments", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=10)
    arguments = parser.parse_args()
    os.environ |= SETTINGS
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_models(folder / "models")
        save_tiny_checkpoint(folder / "own.safetensors")
        for i in range(arguments.garments):
            drawn_image(i, (120, 160)).save(folder / f"{i}.png")
        rows = [f"{i}.png" for i in range(arguments.garments)]
        (folder / "garments.csv").write_text("\n".join(["garment", *rows]) + "\n")
        (folder / "prompts.txt").write_text("\n".join(f"a woman, {i}" for i in range(arguments.prompts)) + "\n")
        machine: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 500_000_000}
        cluster: Any = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
        cluster.add_node(**machine)
        count = arguments.garments * arguments.prompts
        loads = os.getloadavg()
        runs = [measure(folder, cluster.address, workers, count) for workers in (1, 2)]
        images = [
            {path.name: path.read_bytes() for path in (folder / f"workers{n}" / "images").glob("*.png")} for n in (1, 2)
        ]
        cluster.shutdown()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores; load before and after the runs: {loads[0]:.1f}, "
        f"{os.getloadavg()[0]:.1f}",
        "images": count,
        "runs": runs,
        "two_workers_against_one": round(runs[1]["images_per_second"] / runs[0]["images_per_second"], 2),
        "equal_images": images[0] == images[1],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
