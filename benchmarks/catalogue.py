"""How many images a second one and two Ray workers make of one catalogue, and whether they are the same images.

Two processes without Ray, each with half of the garments, against one tell what the two cores allow.

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
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}


def prepare(folder: Path, garments: int, prompts: int) -> list[str]:
    """Write models, garments and lists (of all, and of either half); return the command without list and --out."""
    tiny_models.save_tiny_models(folder / "models")
    tiny_models.tiny_vae((8, 8, 8, 16)).save_pretrained(str(folder / "models" / "vae"))  # latents of an eighth
    tiny_pipelines.save_checkpoint(folder / "own.safetensors")
    for i in range(garments):
        drawn_image(i, (480, 640)).save(folder / f"{i}.png")
    for name, numbers in {"all": range(garments), "even": range(0, garments, 2), "odd": range(1, garments, 2)}.items():
        (folder / f"{name}.csv").write_text("\n".join(["garment", *(f"{i}.png" for i in numbers)]) + "\n")
    (folder / "prompts.txt").write_text("\n".join(f"a woman, {i}" for i in range(prompts)) + "\n")
    command = [sys.executable, "-m", "imagdressing_core.catalogue", *SIZE]
    command += ["--base", str(folder / "models"), "--image-encoder", str(folder / "models" / "image_encoder")]
    return [*command, "--checkpoint", str(folder / "own.safetensors"), "--prompts", str(folder / "prompts.txt")]


def measure(*commands: list[str]) -> tuple[float, float]:
    """Run the commands side by side; return their images per second, and the seconds until the last ended."""
    start = time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    statuses = [process.wait() for process in running]
    assert not any(statuses), "A catalogue failed; its message is above."
    seconds = time.monotonic() - start
    outs = [Path(command[command.index("--out") + 1]) for command in commands]
    written = sorted(path.stat().st_mtime for out in outs for path in (out / "images").glob("*.png"))
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

        def making(garments: str, out: str, *more: str) -> list[str]:
            return [*command, str(folder / f"{garments}.csv"), "--out", str(folder / out), *more]

        alone = measure(making("all", "alone"))
        halves = measure(making("even", "even"), making("odd", "odd"))
        cluster: Any = Cluster(initialize_head=True, head_node_args={**MACHINE, "include_dashboard": False})
        try:
            cluster.add_node(**MACHINE)
            on_ray = ["--address", cluster.address, "--workers"]
            measured = [measure(making("all", str(n), *on_ray, str(n))) for n in WORKERS]
        finally:
            cluster.shutdown()
        one, two, here, even, odd = (images(folder / name) for name in ("1", "2", "alone", "even", "odd"))
    assert one == two == here == even | odd, "The workers did not make the same images."
    assert len(one) == garments * prompts
    (rate, whole), (rate_of_two, whole_of_two) = measured
    rows = [
        Row(f"{len(one)} images, two workers / one worker", rate_of_two, "images/s", rate, "≥ 1.8"),
        Row(f"{len(one)} images without Ray, two processes / one process", halves[0], "images/s", alone[0]),
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
