"""Training on a Ray cluster, with the trainer as it is: python docs/training/on_ray.py run.toml WORKERS [ADDRESS]."""

import os
import sys
from pathlib import Path
from typing import Any


def loop(config: dict[str, Any]) -> None:
    """Train on one worker. Ray has told PyTorch about the others; paths start where the command was given."""
    from imagdressing_core.training.config import read_config
    from imagdressing_core.training.trainer import train

    os.chdir(config["folder"])
    train(read_config(Path(config["toml"])))


def main(toml: str, workers: str, address: str | None = None) -> None:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init(address=address)
    gpus = ray.cluster_resources().get("GPU", 0) > 0
    TorchTrainer(
        loop,
        train_loop_config={"toml": toml, "folder": str(Path.cwd())},
        scaling_config=ScalingConfig(num_workers=int(workers), use_gpu=gpus),
        run_config=RunConfig(name="ray", storage_path=str(Path(toml).resolve().parent)),
    ).fit()


if __name__ == "__main__":
    main(*sys.argv[1:])
