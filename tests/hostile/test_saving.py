"""A saved garment is whole or absent, whatever happens while it is written: no room, a kill, a link that leads away."""

import os
import time
from pathlib import Path

import torch
from support.children import child

SAVES = """
import os, pathlib, resource, signal, sys, time
import torch
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.files.garment_file import load_garment, save_garment

def garment(value, tokens=64):
    parts = {layer.index: torch.full((1, tokens, layer.channels), float(value)) for layer in LAYERS}
    kept = {index: LayerKV(part, part) for index, part in parts.items()}
    return Garment((GarmentImage(kept, Origin("a", "b", "pad", 16, 24)),))

def value(path):
    return float(load_garment(path).images[0].layers[30].k[0, 0, 0])

path = pathlib.Path("garment.safetensors")
"""

KILLED = """
outcomes = set()
for attempt in range(60):
    save_garment(garment(1), path)
    process = os.fork()
    if not process:
        while True:
            save_garment(garment(2), path)
    time.sleep(0.0005 * attempt)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    outcomes.add(value(path))
print(*outcomes)
"""

NO_ROOM = """
save_garment(garment(1), path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 1, 7, 8, 4096, 100_000, 1_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_garment(garment(2), path)
    except ValueError as error:
        assert type(error).__name__ == "IMAGDressingError" and "Could not write" in str(error), error
        pass
    else:
        sys.exit("it was written where there is no room")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert value(path) == 1
    assert os.listdir() == [path.name], os.listdir()
"""


def test_a_kill_at_any_moment_leaves_the_old_garment_or_the_new_one(tmp_path: Path):
    done = child("-c", SAVES + KILLED, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) <= {"1.0", "2.0"}
    # What a killed save leaves is nothing that ComfyUI would list as a garment.
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["garment.safetensors"]


def test_no_room_leaves_the_old_garment_and_nothing_else(tmp_path: Path):
    done = child("-c", SAVES + NO_ROOM, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_a_kill_left_behind_is_swept_away_a_day_later(tmp_path: Path):
    from imagdressing_core.files.storage import save_whole

    for name, hours in (("old", 25), ("young", 1)):
        scratch = tmp_path / f".imagdressing-{name}"
        scratch.touch()
        when = time.time() - 3600 * hours
        os.utime(scratch, (when, when))
    save_whole({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".imagdressing-young", "a.safetensors"]
