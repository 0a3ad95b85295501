"""The frozen part of the learning experiment: a tiny Stable Diffusion that draws figures, in whatever garment.

``make learning`` trains its U-Net and text encoder on the CPU, from where it was stopped.
"""

import time
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from drawings import LATENT_CHANNELS, POSES, caption, design, draw_figure, latents

from imagdressing_core.on_diffusers.pipeline import text_embeddings
from imagdressing_core.training.objective import add_noise, ldm_loss, noise_schedule
from imagdressing_core.training.tiny_models import (
    tiny_image_encoder,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "artefacts" / "learning"
SD, STATE = FOLDER / "sd", FOLDER / "base_state.pt"
SEED = 0
UNET_CHANNELS = (32, 48, 64, 64)
GROUPS = 1  # of few pixels: a group's own mean and spread are chance, and what they take away noise cannot be told from
BATCH, STEPS, RATE, EMA_DECAY = 16, 3000, 2e-3, 0.99
SAVE_EVERY = 25
UNDRESSED = 10_000_000  # designs from here on are what the base sees; the garments of the experiment are others


def main() -> None:
    """Train the denoising U-Net and its text encoder on figures and captions; no garment is known to them."""
    torch.manual_seed(SEED)
    unet, text_encoder, tokenizer = (
        tiny_unet(UNET_CHANNELS, latent=LATENT_CHANNELS, groups=GROUPS),
        tiny_text_encoder(),
        tiny_tokenizer(),
    )
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=50, num_training_steps=STEPS + 100)
    ema = EMAModel(parameters, decay=EMA_DECAY)
    states = {"unet": unet, "text_encoder": text_encoder, "optimizer": optimizer, "schedule": schedule, "ema": ema}
    done = 0
    if STATE.exists():
        saved = torch.load(STATE, weights_only=True)
        done = saved.pop("step")
        for name, state in saved.items():
            states[name].load_state_dict(state)
    alphas = noise_schedule().alphas_cumprod
    for step in range(done, STEPS):
        torch.manual_seed(SEED + 1 + step)
        loss = _loss(step, unet, text_encoder, tokenizer, alphas)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ema.step(parameters)
        if (step + 1) % SAVE_EVERY == 0:
            print(f"{time.strftime('%H:%M:%S')} step {step + 1} of {STEPS}, loss {loss.item():.4f}", flush=True)
            STATE.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"step": step + 1} | {name: one.state_dict() for name, one in states.items()}, STATE)
    ema.copy_to(parameters)
    _save({"text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet})


def _loss(step: int, unet: Any, text_encoder: Any, tokenizer: Any, alphas: torch.Tensor) -> torch.Tensor:
    poses = [POSES[(step * BATCH + i) % len(POSES)] for i in range(BATCH)]
    latent = latents([draw_figure(pose, design(UNDRESSED + step * BATCH + i)) for i, pose in enumerate(poses)])
    captions = [caption(pose) if torch.rand(()) > 0.1 else "" for pose in poses]
    noise, timestep = torch.randn_like(latent), torch.randint(len(alphas), (BATCH,))
    text = text_embeddings(text_encoder, tokenizer, captions, "cpu")
    return ldm_loss(unet(add_noise(latent, noise, alphas, timestep), timestep, text).sample, noise)


def _save(trained: dict[str, Any]) -> None:
    """Write the whole tiny Stable Diffusion, U-Net last; image encoder and VAE are random, the latter never runs."""
    torch.manual_seed(SEED)
    models = {"image_encoder": tiny_image_encoder(patch=32), "vae": tiny_vae(latent=LATENT_CHANNELS)} | trained
    models["vae"].register_to_config(scaling_factor=1.0)
    for name, model in models.items():
        model.save_pretrained(str(SD / name))


if __name__ == "__main__":
    main()
