"""Ray Train runs the trainer as it is: two workers reach the weights of one process with the doubled batch."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from support.children import PATH, REPOSITORY
from support.training_set import config, write_folder, write_toml

from imagdressing_core.training.state import require_state
from imagdressing_core.training.tiny_models import save_tiny_models

RECIPE = REPOSITORY / "docs" / "training" / "on_ray.py"


def test_two_workers_train_as_one_process_with_the_doubled_batch(tmp_path: Path):
    save_tiny_models(tmp_path / "models")
    folder = write_folder(tmp_path / "pairs")
    one = write_toml(config(tmp_path / "models", folder, tmp_path / "one", run={"batch": 4}), tmp_path / "one.toml")
    two = write_toml(config(tmp_path / "models", folder, Path("runs/two"), run={"batch": 2}), tmp_path / "two.toml")
    alone = [sys.executable, "-m", "imagdressing_core.training", "train", str(one)]
    on_ray = [sys.executable, str(RECIPE), two.name, "2"]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATH, "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    settings |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    for command in (alone, on_ray):
        done = subprocess.run(command, check=False, cwd=tmp_path, env=os.environ | settings, capture_output=True)
        assert done.returncode == 0, done.stderr[-3000:].decode()
    weights = [load_file(require_state(tmp_path / run) / "model.safetensors") for run in ("one", "runs/two")]
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=0, atol=2e-6)
