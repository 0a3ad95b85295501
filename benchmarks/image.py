"""How long a whole image takes: 50 steps, and what is done once per garment, against the official pipeline.

From the garment's latent and CLIP's hidden states on: VAE, CLIP and text encoder are the same for both. Per garment the
official pipeline runs Q-Former and the whole garment U-Net at batch 2, here they run for the garment alone and end
with the last layer that is needed. An image's time is what is done once plus 50 times the fastest step.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import compared_models as compared
import torch
from bench import DEVICE, ON_GPU, Row, clock, fastest, in_turn, save

STEPS = 50
ROUNDS = 5 if ON_GPU else 2
SIZES = ["512x640", "768x960"] if ON_GPU else ["512x640"]


def measure(encoder: Any, width: int, height: int, rounds: int) -> Iterator[Row]:
    latent = torch.randn(1, 4, height // 8, width // 8)
    hidden = torch.randn(1, 257, 1280)
    read = compared.read_garment(width, height)
    models = {"ours": compared.ours(read.garment), "official": compared.official(read)}
    once = in_turn(
        {
            "ours": lambda: clock(lambda: encoder.encode(latent, hidden)).blocked_autorange(min_run_time=0),
            "official": lambda: clock(lambda: read_officially(encoder, latent, hidden)).blocked_autorange(
                min_run_time=0
            ),
        },
        rounds,
    )
    step = compared.steps_in_turn(models, width, height, rounds=rounds)
    where, goal = f"{width}x{height}, {DEVICE}", "≥ 1.8" if ON_GPU else "≥ 1.25"
    reading, their_reading = fastest(once["ours"]), fastest(once["official"])
    again = STEPS * fastest(step["ours"])
    first, theirs = reading + again, their_reading + STEPS * fastest(step["official"])
    rival = "official pipeline against ours"
    yield Row(f"reading the garment, {rival}, {where}", their_reading, "s", reading)
    yield Row(f"first image of a garment, {rival}, {where}", theirs, "s", first, goal)
    yield Row(f"next image of the garment, {rival}, {where}", theirs, "s", again, goal)


def read_officially(encoder: Any, latent: torch.Tensor, hidden: torch.Tensor) -> None:
    """Run Q-Former and garment U-Net as the official pipeline: for nothing and for the garment, to the very end."""
    import comfy.model_management

    unet = encoder.garment_unet.model
    comfy.model_management.load_models_gpu([encoder.garment_unet, encoder.adapter])
    device, dtype = encoder.garment_unet.load_device, unet.get_dtype_inference()
    both = torch.cat([torch.zeros_like(hidden), hidden]).to(device, dtype)
    latents = unet.process_latent_in(latent).to(device, dtype).repeat(2, 1, 1, 1)
    unet.diffusion_model(latents, torch.zeros(2, device=device), encoder.adapter.model.tokens(both))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    compared.start()
    with torch.inference_mode():
        loaded = compared.encoder()
        for size in chosen.sizes:
            width, height = map(int, size.split("x"))
            save("image", measure(loaded, width, height, chosen.rounds))


if __name__ == "__main__":
    main()
