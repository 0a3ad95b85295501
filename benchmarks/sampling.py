"""How long a step takes: plain SD1.5, these nodes with one and two garments, the official pipeline.

``--attention`` takes another attention function of ComfyUI's; ``--compiled`` puts TorchCompileModel behind each.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import arrangements
import torch
from results_file import DEVICE, Row, save
from timing import ON_GPU, ROUNDS, against, steps_in_turn
from torch import Tensor

SIZES = [(512, 640), (768, 960)] if ON_GPU else [(256, 320), (512, 640)]
BATCHES = [1, 4, 16] if ON_GPU else [1]


def measure(size: tuple[int, int], batch: int, suffix: str, compiled: bool, rounds: int) -> Iterator[Row]:
    read, other = (arrangements.read_garment(*size, seed) for seed in range(2))
    models = {
        "plain": arrangements.plain(),
        "one": arrangements.ours(read.garment),
        "two": arrangements.ours(read.garment, other.garment),
        "official": arrangements.official(read),
    }
    if compiled:
        models = {name: compile_model(model) for name, model in models.items()}
    step = steps_in_turn(models, *size, batch, rounds)
    where = f"{size[0]}x{size[1]}, " + (f"batch {batch}, " if ON_GPU else "") + DEVICE + suffix
    one, two = ("≤ 1.12", "≤ 1.25") if size == (512, 640) else ("", "")
    yield against(f"step against plain, {where}", step["one"], step["plain"], one)
    yield against(f"step with two garments against plain, {where}", step["two"], step["plain"], two)
    yield against(f"the official pipeline's step against plain, {where}", step["official"], step["plain"])
    yield against(f"the official pipeline's step against ours, {where}", step["official"], step["one"])


def require_the_same_picture() -> None:
    """Stop where these nodes and the official pipeline as re-created here do not agree: nothing to compare then."""
    import comfy.samplers

    def predict_once(predict: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **given: Any) -> Tensor:
        return predict(x, sigmas[0].expand(len(x)), **extra_args)

    read = arrangements.read_garment(64, 64)
    sigma = arrangements.plain().get_model_object("model_sampling").sigmas[501]
    plain, ours, theirs = (
        arrangements.sample(model, comfy.samplers.KSAMPLER(predict_once), torch.stack([sigma, 0 * sigma]), 64, 64)
        for model in (arrangements.plain(), arrangements.ours(read.garment), arrangements.official(read))
    )
    if (ours - theirs).norm() > 0.01 * (ours - plain).norm():
        sys.exit("These nodes and the official pipeline give different pictures; the comparison would be void.")


def compile_model(model: Any) -> Any:
    from support.comfyui_process import call

    return call("TorchCompileModel", model=model, backend="inductor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attention", choices=arrangements.ATTENTION, default="default")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--sizes", nargs="*", default=[f"{width}x{height}" for width, height in SIZES])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    arrangements.start(**arrangements.ATTENTION[chosen.attention])
    suffix = "" if chosen.attention == "default" else f", {chosen.attention} attention"
    suffix += ", compiled" if chosen.compiled else ""
    part = "sampling" if chosen.attention == "default" else f"attention-{chosen.attention}"
    part = "compiled" if chosen.compiled else part
    with torch.inference_mode():
        require_the_same_picture()
        for size in chosen.sizes:
            width, height = map(int, size.split("x"))
            for batch in BATCHES:
                save(part, measure((width, height), batch, suffix, chosen.compiled, chosen.rounds))


if __name__ == "__main__":
    main()
