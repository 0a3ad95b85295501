"""Where the time of a step goes, by kind of operation: plain SD1.5 and with one garment, in turn.

Of each the fastest of several steps. ``--attention`` takes another attention function of ComfyUI's.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

import arrangements
import torch
from results_file import DEVICE, Row, save
from timing import ON_GPU, ROUNDS, step_seconds
from torch.profiler import ProfilerActivity, profile

SIZE = (512, 640)
# The first name that an operation's contains decides.
KINDS = {
    "conv": "convolutions",
    "addmm": "linear layers",
    "aten::mm": "linear layers",
    "bmm": "attention",
    "softmax": "attention",
    "attention": "attention",
    "norm": "norms",
    "silu": "activations",
    "gelu": "activations",
    "copy": "copies",
    "cat": "copies",
}


def by_kind(model: object) -> Counter[str]:
    """Return seconds of one step by kind of operation."""
    activity = ProfilerActivity.CUDA if ON_GPU else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as profiler:
        step_seconds(model, *SIZE, 1, 1)
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.lower()
        kind = next((kind for part, kind in KINDS.items() if part in name), "all else")
        seconds[kind] += (event.self_device_time_total if ON_GPU else event.self_cpu_time_total) / 1e6
    return seconds


def measure(suffix: str) -> Iterator[Row]:
    models = {"plain": arrangements.plain(), "ours": arrangements.ours(arrangements.read_garment(*SIZE).garment)}
    for model in models.values():
        step_seconds(model, *SIZE, 1, 1)
    rounds = [{name: by_kind(model) for name, model in models.items()} for _ in range(ROUNDS)]
    plain, ours = (min((found[name] for found in rounds), key=Counter.total) for name in models)
    where = f"step with a garment against plain, {SIZE[0]}x{SIZE[1]}, {DEVICE}{suffix}"
    for kind, _ in plain.most_common():
        yield Row(f"{kind}, {where}", ours[kind], "s", plain[kind])
    yield Row(f"all, {where}", ours.total(), "s", plain.total())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attention", choices=arrangements.ATTENTION, default="default")
    attention = parser.parse_args().attention
    arrangements.start(**arrangements.ATTENTION[attention])
    default = attention == "default"
    with torch.inference_mode():
        save("profile" if default else f"profile-{attention}", measure("" if default else f", {attention} attention"))


if __name__ == "__main__":
    main()
