"""How much arithmetic a garment adds: FLOPs of a step with cfg, counted while ComfyUI takes it.

The ratio is the floor of the time: no step with a garment can cost less than its arithmetic, at equal speed.
"""

from collections.abc import Iterator

import arrangements
import torch
from results_file import Row, save
from timing import step_seconds
from torch.utils.flop_counter import FlopCounterMode

SIZE = (512, 640)


def flops(model: object, width: int, height: int) -> float:
    with FlopCounterMode(display=False) as counter:
        step_seconds(model, width, height, 1, 1)
    return counter.get_total_flops() / 1e12


def measure(width: int, height: int) -> Iterator[Row]:
    read, other = (arrangements.read_garment(width, height, seed) for seed in range(2))
    plain = flops(arrangements.plain(), width, height)
    for name, model in (
        ("with a garment", arrangements.ours(read.garment)),
        ("with two garments", arrangements.ours(read.garment, other.garment)),
        ("of the official pipeline", arrangements.official(read)),
    ):
        yield Row(
            f"FLOPs of a step {name} against plain, {width}x{height}", flops(model, width, height), "TFLOP", plain
        )


if __name__ == "__main__":
    arrangements.start()
    with torch.inference_mode():
        save("flops", measure(*SIZE))
