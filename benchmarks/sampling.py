"""How long a step takes: plain SD1.5, these nodes with one and two garments, the official pipeline.

``--attention`` takes another attention function of ComfyUI's; ``--compiled`` puts TorchCompileModel behind each;
``--schedules`` compares a garment with and without a schedule, in many short turns, since they differ by little;
``--flops`` counts the arithmetic of a step instead: at equal speed no step with a garment can cost less than that.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import compared_models as compared
import torch
from bench import DEVICE, ON_GPU, ROUNDS, Row, against, save
from support import comfyui_process as comfyui
from torch.utils.flop_counter import FlopCounterMode

SIZES = ["512x640", "768x960"] if ON_GPU else ["256x320", "512x640"]
BATCHES = [1, 4, 16] if ON_GPU else [1]
STEPS = 10 if ON_GPU else 1
GOALS = {(512, 640, 1): ("≤ 1.12", "≤ 1.25"), (512, 640, 16): ("≤ 1.10", "")}


def models(width: int, height: int) -> dict[str, Any]:
    read, other = (compared.read_garment(width, height, seed) for seed in range(2))
    return {
        "plain": compared.plain(),
        "one": compared.ours(read.garment),
        "two": compared.ours(read.garment, other.garment),
        "official": compared.official(read),
    }


def measure(size: tuple[int, int], batch: int, suffix: str, chosen: argparse.Namespace) -> Iterator[Row]:
    """Measure single steps, each waited for; where there is a GPU also steps in a row with one wait."""
    found = models(*size)
    if chosen.compiled:
        found = {name: compiled(model) for name, model in found.items()}
    goals = GOALS.get((*size, batch), ("", ""))
    for steps in dict.fromkeys((1, chosen.steps)):
        step = compared.steps_in_turn(found, *size, batch, chosen.rounds, steps)
        where = f"{size[0]}x{size[1]}, " + (f"batch {batch}, " if ON_GPU or batch > 1 else "") + DEVICE + suffix
        where += f", {steps} steps with one wait" if steps > 1 else ""
        yield against(f"step against plain, {where}", step["one"], step["plain"], goals[0])
        yield against(f"step with two garments against plain, {where}", step["two"], step["plain"], goals[1])
        yield against(f"the official pipeline's step against plain, {where}", step["official"], step["plain"])
        yield against(f"the official pipeline's step against ours, {where}", step["official"], step["one"])


def measure_schedules(width: int, height: int, rounds: int) -> Iterator[Row]:
    garment = compared.read_garment(width, height).garment
    found = {
        "constant": compared.ours(garment),
        "schedule": compared.ours(garment, schedule="ease out"),
        "window": compared.ours(garment, start=0.1, end=0.9),
        "constant again": compared.ours(garment),
    }
    step = compared.steps_in_turn(found, width, height, rounds=rounds)
    where = f"{width}x{height}, {DEVICE}"
    yield against(f"step with a schedule against without, {where}", step["schedule"], step["constant"], "≤ 1.02")
    yield against(f"step in a window against without, {where}", step["window"], step["constant"], "≤ 1.02")
    yield against(f"the same step against itself, {where}", step["constant again"], step["constant"])


def count_arithmetic(width: int, height: int) -> Iterator[Row]:
    def flops(model: Any) -> float:
        with FlopCounterMode(display=False) as counter:
            compared.with_step(model, width, height, 1, lambda step: step())
        return counter.get_total_flops() / 1e12

    found = {name: flops(model) for name, model in models(width, height).items()}
    names = {"one": "with a garment", "two": "with two garments", "official": "of the official pipeline"}
    for key, name in names.items():
        yield Row(f"FLOPs of a step {name} against plain, {width}x{height}", found[key], "TFLOP", found["plain"])


def require_the_same_image(compile_too: bool) -> None:
    """Stop where a comparison would be void: two ways that should predict the same do not.

    A difference of 1 % of what the garment changes is allowed, and twice what plain SD1.5 differs between the same two
    ways: in half precision random weights make a tenth of that rounding.
    """
    read = compared.read_garment(64, 64)
    plain, ours = compared.plain(), compared.ours(read.garment)
    pairs = [("the official pipeline", ours, compared.official(read), compared.official(None))]
    if compile_too:
        pairs.append(("the same model compiled", ours, compiled(ours), compiled(plain)))
    for name, one, other, plain_other_way in pairs:
        base, reference = compared.prediction(plain), compared.prediction(one)
        allowed = 0.01 * (reference - base).norm() + 2 * (compared.prediction(plain_other_way) - base).norm()
        if (compared.prediction(other) - reference).norm() > allowed:
            sys.exit(f"These nodes and {name} give different images; the comparison would be void.")


def compiled(model: Any) -> Any:
    return comfyui.call("TorchCompileModel", model=model, backend="inductor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attention", choices=["default", "pytorch", "split"], default="default")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--flops", action="store_true")
    parser.add_argument("--schedules", action="store_true")
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument("--batches", nargs="*", type=int, default=BATCHES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS, help="also so many in a row with one wait for the GPU")
    chosen = parser.parse_args()
    compared.start(*([] if chosen.attention == "default" else [f"--use-{chosen.attention}-cross-attention"]))
    suffix = "" if chosen.attention == "default" else f", {chosen.attention} attention"
    suffix += ", compiled" if chosen.compiled else ""
    part = "sampling" if chosen.attention == "default" else f"attention-{chosen.attention}"
    part = "compiled" if chosen.compiled else part
    with torch.inference_mode():
        if chosen.flops:
            save("flops", count_arithmetic(512, 640))
            return
        if chosen.schedules:
            save("schedules", measure_schedules(256, 320, 5 * chosen.rounds))
            return
        require_the_same_image(chosen.compiled)
        for size in chosen.sizes:
            width, height = map(int, size.split("x"))
            for batch in chosen.batches:
                save(part, measure((width, height), batch, suffix, chosen))


if __name__ == "__main__":
    main()
