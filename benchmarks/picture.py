"""How long a whole picture takes: 50 steps, and what is done once per garment, against the official pipeline.

From the garment's latent and CLIP's hidden states on: VAE, CLIP and text encoder are the same for both. Per garment the
official pipeline runs Q-Former and the whole garment U-Net at batch 2, here they run for the garment alone and end
with the last layer that is needed. A picture's time is the once plus 50 times the fastest step.
"""

from collections.abc import Iterator
from typing import Any

import arrangements
import torch
from results_file import DEVICE, Row, save
from support import comfyui_process as comfyui
from timing import ON_GPU, fastest, in_turn, step_seconds, timed

from imagdressing_core.files import official_files

STEPS = 50
ROUNDS = 5 if ON_GPU else 2
SIZES = [(512, 640), (768, 960)] if ON_GPU else [(512, 640)]


def measure(encoder: Any, width: int, height: int) -> Iterator[Row]:
    latent = torch.randn(1, 4, height // 8, width // 8)
    hidden = torch.randn(1, 257, 1280)
    read = arrangements.read_garment(width, height)
    models = {"ours": arrangements.ours(read.garment), "official": arrangements.official(read)}
    visits = {
        "once, ours": lambda _: [timed(lambda: encoder.encode(latent, hidden))],
        "once, official": lambda _: [timed(lambda: read_officially(encoder, latent, hidden))],
    }
    once = fastest(in_turn(visits, ROUNDS, warm=ON_GPU))
    visits = {
        name: (lambda steps, model=model: step_seconds(model, width, height, 1, steps))
        for name, model in models.items()
    }
    step = fastest(in_turn(visits, ROUNDS))
    where, goal = f"{width}x{height}, {DEVICE}", "≥ 1.8" if ON_GPU else "≥ 1.25"
    reading, their_reading = once["once, ours"], once["once, official"]
    first, again = reading + STEPS * step["ours"], STEPS * step["ours"]
    theirs = their_reading + STEPS * step["official"]
    rival = "official pipeline against ours"
    yield Row(f"reading the garment, {rival}, {where}", their_reading, "s", reading)
    yield Row(f"first picture of a garment, {rival}, {where}", theirs, "s", first, goal)
    yield Row(f"next picture of the garment, {rival}, {where}", theirs, "s", again, goal)


def read_officially(encoder: Any, latent: torch.Tensor, hidden: torch.Tensor) -> None:
    """Run Q-Former and garment U-Net as the official pipeline: for nothing and for the garment, to the very end."""
    import comfy.model_management

    unet = encoder.garment_unet.model
    comfy.model_management.load_models_gpu([encoder.garment_unet, encoder.adapter])
    device, dtype = encoder.garment_unet.load_device, unet.get_dtype_inference()
    both = torch.cat([torch.zeros_like(hidden), hidden]).to(device, dtype)
    latents = unet.process_latent_in(latent).to(device, dtype).repeat(2, 1, 1, 1)
    unet.diffusion_model(latents, torch.zeros(2, device=device), encoder.adapter.model.tokens(both))


if __name__ == "__main__":
    arrangements.start()
    with torch.inference_mode():
        loaded = comfyui.call("IMAGDressingModelLoader", model_name=official_files.GARMENT.name)
        for size in SIZES:
            save("picture", measure(loaded, *size))
