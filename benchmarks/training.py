"""What a training step costs against the official loop's: seconds and peak memory, the same loss and data.

``python benchmarks/training.py``: every model an eighth as wide as SD1.5's, the images 192 × 256, on the
CPU; each way of training in a process of its own, by turns. The official loop encodes both images by VAE and CLIP
in each step, runs the garment U-Net to its end and keeps all 32 of its attentions' inputs.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from bench import Row, save
from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from imagdressing_core.model.layers import LAYERS
from imagdressing_core.on_diffusers import pipeline
from imagdressing_core.on_diffusers import unet as diffusers_unet
from imagdressing_core.training.config import Objective
from imagdressing_core.training.model import TrainingBatch, freeze_unread, start_projections, training_loss
from imagdressing_core.training.objective import RandomDraws, noise_schedule

WIDTH, HEIGHT = 192, 256
CONTEXT, CLIP = 96, 160
STEPS, ROUNDS = 3, 2
WAYS = ("official", "whole", "cached", "checkpointed")
"""The official loop's; ours without a cache; with; and with gradient checkpointing as well."""


class OfficialGarmentModel(diffusers_unet.GarmentModel):
    """The garment U-Net run to its end, the inputs of all attentions kept, as the official cache processors do."""

    def forward(self, latent: Tensor, clip_hidden: Tensor) -> Any:
        features: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for layer in LAYERS:
                for name in ("attn1", "attn2"):
                    path = f"{layer.diffusers_name}.{name}"

                    def note(_: nn.Module, args: tuple[Tensor, ...], path: str = path) -> None:
                        features[path] = args[0]

                    hooks.callback(self.ref_unet.get_submodule(path).register_forward_pre_hook(note).remove)
            self.ref_unet(latent, torch.zeros(len(latent)), self.proj(clip_hidden))
        needed = {layer.index: features[f"{layer.diffusers_name}.attn1"] for layer in LAYERS}
        return self.adapter_modules(needed)


def models(way: str) -> dict[str, Any]:
    torch.manual_seed(0)

    def unet() -> Any:
        return UNet2DConditionModel(
            block_out_channels=(40, 80, 160, 160), norm_num_groups=8, cross_attention_dim=CONTEXT, attention_head_dim=8
        )

    denoising, garment = unet(), diffusers_unet.garment_model(unet(), CLIP)
    diffusers_unet.install_hybrid_attention(denoising.requires_grad_(False))
    start_projections(garment, denoising)
    nn.init.normal_(garment.proj.latents, std=0.1)
    if way == "official":
        garment = OfficialGarmentModel(garment.ref_unet, garment.proj, garment.adapter_modules)
    else:
        freeze_unread(garment)
    if way == "checkpointed":
        for one in (denoising, garment.ref_unet):
            one.train()
            one.enable_gradient_checkpointing()  # pyright: ignore[reportCallIssue]
    found: dict[str, Any] = {"unet": denoising, "garment": garment}
    if way in ("official", "whole"):
        blocks: Any = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        widths: Any = (16, 32, 64, 64)  # typed as one in diffusers
        found["vae"] = AutoencoderKL(block_out_channels=widths, norm_num_groups=8, layers_per_block=2, **blocks)
        found["clip"] = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=CLIP, intermediate_size=4 * CLIP, num_hidden_layers=32, num_attention_heads=4, patch_size=14
            )
        )
    return found


def measure(way: str) -> None:
    """Train a few steps in this process; print seconds of a step, peak memory and the first loss."""
    found = models(way)
    parameters = [one for one in found["garment"].parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    alphas = noise_schedule().alphas_cumprod
    seconds: list[float] = []
    losses: list[float] = []
    for step in range(STEPS + 1):
        start = time.perf_counter()
        loss = training_loss(found["unet"], found["garment"], _batch(found, step), Objective(), alphas)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "peak": peak, "loss": losses[0]}))


@torch.no_grad()
def _batch(found: dict[str, Any], step: int) -> TrainingBatch:
    """Return one sample, the same in all ways; where there is no cache, images go through VAE and CLIP."""
    generator = torch.Generator().manual_seed(step)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    latent = 1, 4, HEIGHT // 8, WIDTH // 8
    if "vae" in found:
        pixels = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(step)) * 2 - 1
        for image in pixels:
            found["vae"].encode(image[None])
        pipeline.clip_hidden_states(found["clip"], torch.zeros(1, 3, 224, 224))
    return TrainingBatch(
        person=normal(1, 8, *latent[2:]),
        garment=normal(1, 8, *latent[2:]),
        garment_kept=torch.ones(1, 1, 1, 1),
        clip_hidden=normal(1, 257, CLIP),
        text=normal(1, 77, CONTEXT),
        draws=RandomDraws(torch.tensor([500]), normal(*latent), normal(1, 4, 1, 1), normal(*latent), normal(*latent)),
        scaling=0.18215,
    )


def main() -> None:
    command = [sys.executable, str(Path(__file__)), "--way"]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name in WAYS:
            output = subprocess.run([*command, name], check=True, capture_output=True, text=True).stdout
            runs[name].append(json.loads(output.splitlines()[-1]))
    losses = {round(run["loss"], 4) for one in runs.values() for run in one}
    assert len(losses) == 1, f"The ways to train do not compute the same loss: {losses}"

    def median(name: str, what: str) -> float:
        return statistics.median(run[what] for run in runs[name])

    labels = {"whole": "without a cache", "cached": "with a cache", "checkpointed": "with a cache and checkpointing"}
    rows: list[Row] = []
    for name, label in labels.items():
        goal = "below 1"
        seconds, peak = (median(name, what) for what in ("seconds", "peak"))
        base, base_peak = (median("official", what) for what in ("seconds", "peak"))
        rows.append(Row(f"training step, {label} / official loop", seconds, "s", base, goal))
        rows.append(Row(f"peak memory, {label} / official loop", peak / 1e6, "MB", base_peak / 1e6, goal))
    save("training", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS)
    way = parser.parse_args().way
    measure(way) if way else main()
