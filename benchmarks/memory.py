"""How much memory a garment takes: at the peak of sampling above plain SD1.5, and between runs.

Each arrangement samples in a process of its own. On the CPU the peak is that of the process's resident memory from the
first step on, and everything is float32; a garment takes half as much in fp16. What to expect of a GPU says PyTorch's
own count of what a step's tensors take at once, with its own attention, the default on GPUs, and halved for fp16.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arrangements
import torch
from results_file import DEVICE, Row, save
from timing import ON_GPU, step_seconds
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

SIZE = (512, 640)
STEPS = 2
MEGABYTE = 1e6


def measure_here(name: str) -> dict[str, float]:
    """Sample in this process; return megabytes at the peak, and of what is kept for the next picture."""
    arrangements.start()
    model, kept = _loaded(name)
    _forget_peak()
    step_seconds(model, *SIZE, 1, STEPS)
    size, elements = sum(t.nbytes for t in kept), sum(t.numel() for t in kept)
    return {"peak": _peak() / MEGABYTE, "kept": size / MEGABYTE, "in fp16": 2 * elements / MEGABYTE}


def tensors_here(name: str) -> dict[str, float]:
    """Return megabytes in fp16 that a step's tensors take at once on the CPU, kept ones and temporary ones."""
    arrangements.start(use_pytorch_cross_attention=True)
    model, kept = _loaded(name)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step_seconds(model, *SIZE, 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    temporary = max(event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]")
    return {"tensors": (temporary + sum(t.nbytes for t in kept)) / 2 / MEGABYTE}


def _loaded(name: str) -> tuple[Any, list[Tensor]]:
    model, kept = {"plain": _plain, "ours": _ours, "official": _official}[name]()
    step_seconds(model, 64, 64, 1, 1)  # has ComfyUI load the model
    return model, kept


def _plain() -> tuple[Any, list[Tensor]]:
    return arrangements.plain(), []


def _ours() -> tuple[Any, list[Tensor]]:
    garment = arrangements.read_garment(*SIZE).garment
    kept = [t for image in garment.images for layer in image.layers.values() for t in layer.tensors.values()]
    return arrangements.ours(garment), kept


def _official() -> tuple[Any, list[Tensor]]:
    read = arrangements.read_garment(*SIZE)
    return arrangements.official(read), [*read.features.values(), *read.projections.parameters()]


def _forget_peak() -> None:
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel counts VmHWM from here


def _peak() -> int:
    if ON_GPU:
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def measure() -> Iterator[Row]:
    names = ("plain", "ours", "official")
    found = {name: _in_a_process_of_its_own("here", name) for name in names}
    where = f"{SIZE[0]}x{SIZE[1]}, {DEVICE}"
    for name, goal in (("ours", "≤ 150 MB in fp16"), ("official", "")):
        yield Row(
            f"peak of sampling above plain, {name}, {where}",
            found[name]["peak"] - found["plain"]["peak"],
            "MB",
            goal=goal,
        )
        yield Row(f"peak of sampling against plain, {name}, {where}", found[name]["peak"], "MB", found["plain"]["peak"])
        yield Row(f"kept between runs, {name}, {where}", found[name]["kept"], "MB")
        yield Row(f"kept between runs in fp16, {name}, {where}", found[name]["in fp16"], "MB")
    if ON_GPU:
        return
    counted = {name: _in_a_process_of_its_own("tensors", name)["tensors"] for name in names}
    for name, goal in (("ours", "≤ 150 MB"), ("official", "")):
        above = counted[name] - counted["plain"]
        yield Row(
            f"a step's tensors above plain's in fp16, as PyTorch counts them, {name}, {where}", above, "MB", goal=goal
        )


def _in_a_process_of_its_own(what: str, name: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, what, name], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    if sys.argv[1:]:
        what, name = sys.argv[1:]
        with torch.inference_mode():
            print(json.dumps({"here": measure_here, "tensors": tensors_here}[what](name)))
    else:
        save("memory", measure())
