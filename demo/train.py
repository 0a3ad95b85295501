"""Training of the demo's models, part after part, on CPU or GPU; stopped at any moment, it goes on where it was.

``python -m demo.train STATE PART`` with PART one of base, decoder, and, once there is a base, garment, pose, inpaint.
STATE is a folder for the states and the weights.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from torch import Tensor, nn

from . import data, parts

SAVE_EVERY = 60  # seconds
LOG_EVERY = 20  # steps
SMALL_BATCH = 2  # small images for each of the demo's size
WARMUP, LOWEST = 100, 0.02  # steps; share of the learning rate at the end


@dataclass(frozen=True)
class Plan:
    """How a part is trained: AdamW, first on small images alone, then one step of three, so that both stay known.

    small, steps: steps on small images alone, and in all. batch: of the demo's size; twice as many small ones.
    rate: the learning rate at its highest; decay: of the averaged weights.
    """

    small: int
    steps: int
    batch: int
    rate: float
    decay: float = 0.998

    def images(self, step: int) -> tuple[range, int]:
        """Return the numbers of a step's people, each new, and the width of their images."""
        many = SMALL_BATCH * self.batch
        people = range(step * many, (step + 1) * many)
        if step < self.small or step % 3 == 2:
            return people, data.SMALL_WIDTH
        return people[: self.batch], data.WIDTH


PLANS: Mapping[str, Plan] = {
    "base": Plan(small=2_600, steps=2_900, batch=8, rate=1.5e-3),
    "together": Plan(small=900, steps=4_500, batch=8, rate=5e-4),
    "garment": Plan(small=0, steps=200, batch=8, rate=2e-4),
    "pose": Plan(small=0, steps=450, batch=8, rate=1e-3),
    "inpaint": Plan(small=0, steps=450, batch=8, rate=1e-3),
    "decoder": Plan(small=1_000, steps=2_000, batch=2, rate=2e-3),
}


class Run:
    """One part's training: model, optimiser, averaged weights, and how far it is."""

    def __init__(self, folder: Path, part: str, plan: Plan, device: torch.device) -> None:
        self.folder, self.part, self.plan, self.device = folder, part, plan, device
        torch.manual_seed(0)
        self.model, self.loss = parts.PARTS[part](folder, device)
        self.model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore
        self.optimizer = torch.optim.AdamW(parts.rates(self.model), lr=plan.rate, weight_decay=0.0, fused=True)
        self.ema = EMAModel(self.model.parameters(), decay=plan.decay, use_ema_warmup=True, power=0.75, foreach=True)
        self.step, self.seconds, self._started = 0, 0.0, time.process_time()
        if self.state.exists():
            saved = torch.load(self.state, map_location=device, weights_only=True)
            self.step, self.seconds = saved["step"], saved["seconds"]
            for name, one in self._holders().items():
                one.load_state_dict(saved[name])

    @property
    def state(self) -> Path:
        return self.folder / f"{self.part}.state.pt"

    def run(self) -> None:
        """Train until the plan's last step."""
        saved, losses = time.monotonic(), []
        while self.step < self.plan.steps:
            losses.append(self.one_step())
            if self.step % LOG_EVERY == 0:
                line = {"step": self.step, "loss": sum(losses) / len(losses), "seconds": self._spent()}
                losses.clear()
                with (self.folder / f"{self.part}.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
            if time.monotonic() - saved > SAVE_EVERY or self.step == self.plan.steps:
                self.save()
                saved = time.monotonic()

    def one_step(self) -> float:
        """Train on one batch and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * group["share"] * learning_rate(self.step, self.plan.steps)
        torch.manual_seed(self.step + 1)
        loss = self.loss(*self.plan.images(self.step))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.model.parameters())
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """Write the state to go on from, and the averaged weights to use."""
        holders = {name: one.state_dict() for name, one in self._holders().items()}
        unfinished = self.state.with_suffix(".unfinished")
        torch.save({"step": self.step, "seconds": self._spent()} | holders, unfinished)
        unfinished.replace(self.state)
        self.ema.store(self.model.parameters())
        self.ema.copy_to(self.model.parameters())
        save_file(_contiguous(self.model.state_dict()), weights := self.folder / f"{self.part}.unfinished")
        weights.replace(self.folder / f"{self.part}.safetensors")
        self.ema.restore(self.model.parameters())

    def _spent(self) -> float:
        """Return how many seconds of processor time the run has taken."""
        return self.seconds + time.process_time() - self._started

    def _holders(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "ema": self.ema}


def learning_rate(step: int, steps: int) -> float:
    """Return the share of the learning rate: up over the first steps, then down along a cosine."""
    fall = LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / WARMUP) * fall


def _contiguous(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: one.detach().cpu().contiguous() for key, one in weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("part", choices=sorted(PLANS))
    parser.add_argument("--steps", type=int, help="in place of the plan's")
    arguments = parser.parse_args()
    plan = PLANS[arguments.part]
    plan = replace(plan, small=min(plan.small, arguments.steps or plan.small), steps=arguments.steps or plan.steps)
    arguments.state.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    Run(arguments.state, arguments.part, plan, device).run()


if __name__ == "__main__":
    main()
