"""How much memory a garment takes: at the peak of sampling above plain SD1.5, and between runs.

Each way of sampling has a process of its own. On the CPU the peak is that of the process's resident memory from the
first step on, and everything is float32; a garment takes half as much in fp16. PyTorch's own count of what a
step's tensors take at once, with its own attention, the default on GPUs, and halved for fp16, tells what a GPU needs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compared_models as compared
import torch
from bench import DEVICE, Row, save
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

STEPS = 2
ON_CUDA = torch.cuda.is_available()
MEGABYTE = 1e6
Size = tuple[int, int]


def measure_here(name: str, size: Size) -> dict[str, float]:
    """Sample in this process; return megabytes at the peak, and of what is kept for the next image."""
    compared.start()
    model, kept = _loaded(name, size)
    _forget_peak()
    compared.with_step(model, *size, 1, lambda step: [step() for _ in range(STEPS)])
    nbytes, elements = sum(t.nbytes for t in kept), sum(t.numel() for t in kept)
    return {"peak": _peak() / MEGABYTE, "kept": nbytes / MEGABYTE, "in fp16": 2 * elements / MEGABYTE}


def tensors_here(name: str, size: Size) -> dict[str, float]:
    """Return megabytes in fp16 that a step's tensors take at once on the CPU, kept ones and temporary ones."""
    compared.start("--use-pytorch-cross-attention")
    model, kept = _loaded(name, size)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        compared.with_step(model, *size, 1, lambda step: step())
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    temporary = max(event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]")
    return {"tensors": (temporary + sum(t.nbytes for t in kept)) / 2 / MEGABYTE}


def _loaded(name: str, size: Size) -> tuple[Any, list[Tensor]]:
    model, kept = {"plain": _plain, "ours": _ours, "official": _official}[name](size)
    compared.prediction(model)  # has ComfyUI load the model
    return model, kept


def _plain(_: Size) -> tuple[Any, list[Tensor]]:
    return compared.plain(), []


def _ours(size: Size) -> tuple[Any, list[Tensor]]:
    garment = compared.read_garment(*size).garment
    kept = [t for image in garment.images for layer in image.layers.values() for t in layer.tensors.values()]
    return compared.ours(garment), kept


def _official(size: Size) -> tuple[Any, list[Tensor]]:
    read = compared.read_garment(*size)
    return compared.official(read), [*read.features.values(), *read.projections.parameters()]


def _forget_peak() -> None:
    if ON_CUDA:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel counts VmHWM from here


def _peak() -> int:
    if ON_CUDA:
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def measure(size: Size) -> Iterator[Row]:
    names = ("plain", "ours", "official")
    found = {name: _in_a_process_of_its_own("here", name, size) for name in names}
    where = f"{size[0]}x{size[1]}, {DEVICE}"
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
    if ON_CUDA:
        return
    counted = {name: _in_a_process_of_its_own("tensors", name, size)["tensors"] for name in names}
    for name, goal in (("ours", "≤ 150 MB"), ("official", "")):
        above = counted[name] - counted["plain"]
        yield Row(
            f"a step's tensors above plain's in fp16, as PyTorch counts them, {name}, {where}", above, "MB", goal=goal
        )


def _in_a_process_of_its_own(what: str, name: str, size: Size) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--size", f"{size[0]}x{size[1]}", what, name],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x640")
    parser.add_argument("here", nargs="*", help=argparse.SUPPRESS)  # what to measure of which, in this process
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    if not given.here:
        save("memory", measure((width, height)))
        return
    what, name = given.here
    with torch.inference_mode():
        print(json.dumps({"here": measure_here, "tensors": tensors_here}[what](name, (width, height))))


if __name__ == "__main__":
    main()
