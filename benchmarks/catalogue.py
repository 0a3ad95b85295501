"""How many images a second one and two Ray workers make of one catalogue, and whether they are the same images.

``python benchmarks/catalogue.py``: each worker has one core of this machine. The models are random and a few channels
wide, the latents those of 256 × 320. A rate is that of the middle half of the images, when all workers run: starting
Ray and loading models are left out. Nothing is compared with ComfyUI, which loads no model narrower than SD1.5; 200
images of that width take hours on a CPU.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import Row, save
from support import tiny_pipelines
from support.training_set import drawn_image

from imagdressing_core.training import tiny_models

WORKERS = (1, 2)
SIZE = ["--width", "256", "--height", "320", "--steps", "4"]
MACHINE = {"num_cpus": 1, "object_store_memory": 500_000_000}
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


def prepare(folder: Path, garments: int, prompts: int) -> list[str]:
    """Write models, garments and lists; return the command without --out, --address and --workers."""
    tiny_models.save_tiny_models(folder / "models")
    tiny_models.tiny_vae((8, 8, 8, 16)).save_pretrained(str(folder / "models" / "vae"))  # latents of an eighth
    tiny_pipelines.save_checkpoint(folder / "own.safetensors")
    for i in range(garments):
        drawn_image(i, (480, 640)).save(folder / f"{i}.png")
    (folder / "garments.csv").write_text("\n".join(["garment", *(f"{i}.png" for i in range(garments))]) + "\n")
    (folder / "prompts.txt").write_text("\n".join(f"a woman, {i}" for i in range(prompts)) + "\n")
    command = [sys.executable, "-m", "imagdressing_core.catalogue", str(folder / "garments.csv"), *SIZE]
    command += ["--base", str(folder / "models"), "--image-encoder", str(folder / "models" / "image_encoder")]
    return [*command, "--checkpoint", str(folder / "own.safetensors"), "--prompts", str(folder / "prompts.txt")]


def measure(command: list[str], out: Path, address: str, workers: int) -> tuple[float, float]:
    """Make the catalogue; return images per second, and the seconds of the whole command."""
    start = time.monotonic()
    on_ray = ["--out", str(out), "--address", address, "--workers", str(workers)]
    subprocess.run([*command, *on_ray], check=True, capture_output=True)
    seconds = time.monotonic() - start
    written = sorted(path.stat().st_mtime for path in (out / "images").glob("*.png"))
    first, last = len(written) // 4, len(written) * 3 // 4
    return (last - first) / (written[last] - written[first]), seconds


def images(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "images").glob("*.png")}


def main(garments: int, prompts: int) -> None:
    os.environ |= SETTINGS
    from ray.cluster_utils import Cluster

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = prepare(folder, garments, prompts)
        cluster: Any = Cluster(initialize_head=True, head_node_args={**MACHINE, "include_dashboard": False})
        try:
            cluster.add_node(**MACHINE)
            measured = [measure(command, folder / str(n), cluster.address, n) for n in WORKERS]
        finally:
            cluster.shutdown()
        one, two = (images(folder / str(n)) for n in WORKERS)
    assert one == two and len(one) == garments * prompts, "The workers did not make the same images."
    (rate, whole), (rate_of_two, whole_of_two) = measured
    rows = [
        Row(f"{len(one)} images, two workers / one worker", rate_of_two, "images/s", rate, "≥ 1.8"),
        Row("the whole command, two workers / one worker", whole_of_two, "s", whole),
        Row("images that differ between the two", 0, ""),
        Row("load of the machine before", load, "processes"),
    ]
    save("catalogue", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--garments", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=10)
    main(**vars(parser.parse_args()))
