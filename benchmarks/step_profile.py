"""Where the time of a step goes, by kind of operation: plain SD1.5 and with one garment."""

from collections import Counter
from collections.abc import Iterator

import arrangements
import torch
from results_file import DEVICE, Row, save
from timing import ON_GPU, step_seconds
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
    step_seconds(model, *SIZE, 1, 1)
    activity = ProfilerActivity.CUDA if ON_GPU else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as profiler:
        step_seconds(model, *SIZE, 1, 1)
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.lower()
        kind = next((kind for part, kind in KINDS.items() if part in name), "all else")
        seconds[kind] += (event.self_device_time_total if ON_GPU else event.self_cpu_time_total) / 1e6
    return seconds


def measure() -> Iterator[Row]:
    plain = by_kind(arrangements.plain())
    ours = by_kind(arrangements.ours(arrangements.read_garment(*SIZE).garment))
    for kind, _ in plain.most_common():
        yield Row(
            f"{kind}, step with a garment against plain, {SIZE[0]}x{SIZE[1]}, {DEVICE}", ours[kind], "s", plain[kind]
        )


if __name__ == "__main__":
    arrangements.start()
    with torch.inference_mode():
        save("profile", measure())
