"""Seconds of sampling steps of several models, taken in turn so that a busy machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from arrangements import sample
from results_file import Row
from torch import Tensor

ON_GPU = torch.cuda.is_available()
ROUNDS = 5 if ON_GPU else 3
STEPS = 10 if ON_GPU else 1
"""Steps of each visit. On the CPU a step takes seconds, and one is enough."""

Seconds = dict[str, list[float]]


def steps_in_turn(models: Mapping[str, Any], width: int, height: int, batch: int = 1, rounds: int = ROUNDS) -> Seconds:
    """Return the seconds of each step by model, A B C A B C …, after one step of each that does not count."""

    def visit(model: Any, steps: int) -> list[float]:
        return step_seconds(model, width, height, batch, steps)

    return in_turn({name: (lambda steps, m=model: visit(m, steps)) for name, model in models.items()}, rounds)


def in_turn(visits: Mapping[str, Callable[[int], list[float]]], rounds: int = ROUNDS, warm: bool = True) -> Seconds:
    """Return what the visits measure, one after the other and over again; each is told how many steps to take."""
    seconds: Seconds = {name: [] for name in visits}
    if warm:
        for visit in visits.values():
            visit(1)
    for _ in range(rounds):
        for name, visit in visits.items():
            seconds[name] += visit(STEPS)
    return seconds


def step_seconds(model: Any, width: int, height: int, batch: int, steps: int) -> list[float]:
    """Return the seconds of each of ``steps`` predictions with cfg, all prompts included, nothing else."""
    import comfy.samplers

    seconds: list[float] = []

    def predict_again(predict: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **given: Any) -> Tensor:
        sigma = sigmas[0].expand(len(x))
        for _ in range(steps):
            seconds.append(timed(lambda: predict(x, sigma, **extra_args)))
        return x

    sigma = model.get_model_object("model_sampling").sigmas[501]
    sample(model, comfy.samplers.KSAMPLER(predict_again), torch.stack([sigma, 0 * sigma]), width, height, batch)
    return seconds


def timed(work: Callable[[], Any]) -> float:
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def fastest(seconds: Seconds) -> dict[str, float]:
    return {name: min(values) for name, values in seconds.items()}


def against(name: str, seconds: list[float], base: list[float], goal: str = "") -> Row:
    """Compare the fastest: whatever else the machine does only adds. The ratio of the medians stands beside it."""
    medians = round(statistics.median(seconds) / statistics.median(base), 3)
    return Row(name, min(seconds), "s", min(base), goal, medians)
