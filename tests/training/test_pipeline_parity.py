"""The diffusers pipeline in full SD1.5 width against vectors of the official implementation. Loads 7 GB."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.comfyui_release import prepare_base
from support.synthetic_models import sd15_unet, synthetic_state
from torch import Tensor

from imagdressing_core.files import official_files
from imagdressing_core.files.checkpoint import read_checkpoint
from imagdressing_core.images.preprocess import fit_official
from imagdressing_core.model.garment import LayerKV
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.model.qformer import CLIP_CHANNELS
from imagdressing_core.on_diffusers.pipeline import clip_pixels, denoise, official_scheduler, vae_pixels
from imagdressing_core.on_diffusers.unet import (
    GarmentInputs,
    GarmentModel,
    garment_features,
    garment_model,
    install_hybrid_attention,
    noise_prediction,
)

REFERENCE = Path(__file__).resolve().parent.parent / "reference"


def relative_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours.double() - reference.double()).norm() / reference.double().norm())


@dataclass(frozen=True)
class Models:
    unet: Any
    garment: GarmentModel
    vectors: dict[str, Tensor]
    tokens: Tensor
    features: dict[int, Tensor]
    layers: dict[int, LayerKV]

    def predict(self, timestep: int, garment: GarmentInputs | None, text: str = "prompt") -> Tensor:
        return noise_prediction(
            self.unet, self.vectors["input.noise"], torch.tensor(timestep), self.vectors[f"input.{text}"], garment
        )


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with torch.inference_mode():
        with torch.device("meta"):
            unet, skeleton = sd15_unet(), sd15_unet()
            garment = garment_model(skeleton, CLIP_CHANNELS)
        unet.load_state_dict(synthetic_state(sd15_unet, "unet."), assign=True)
        install_hybrid_attention(unet.eval())
        checkpoint = read_checkpoint(prepare_base() / "models" / official_files.GARMENT.path)
        garment.load_state_dict(checkpoint.tensors, assign=True)
        vectors = load_file(REFERENCE / "hybrid_attention.safetensors")
        tokens = garment.eval().proj(vectors["input.clip_hidden"])
        features = garment_features(garment.ref_unet, vectors["input.garment_latent"], tokens)
        yield Models(
            unet,
            garment,
            vectors,
            tokens,
            features,
            garment(vectors["input.garment_latent"], vectors["input.clip_hidden"]),
        )


def test_tokens_and_garment_features_are_the_official_ones(models: Models):
    assert relative_error(models.tokens, models.vectors["tokens"]) < 1e-5
    # float32's own rounding through the whole U-Net: 7e-6 to 1.05e-5, by the processor's kernels.
    for layer in LAYERS:
        assert relative_error(models.features[layer.index], models.vectors[f"feature.{layer.diffusers_name}"]) < 2e-5


@pytest.mark.parametrize("timestep", [981, 501, 1])
def test_noise_predictions_are_the_official_ones(models: Models, timestep: int):
    with torch.inference_mode():
        for strength in (0.0, 0.5, 1.0):
            ours = models.predict(timestep, GarmentInputs(models.layers, strength))
            assert relative_error(ours, models.vectors[f"noise_pred.t{timestep}.lambda{strength}"]) < 1e-4
        ours = models.predict(timestep, None, "negative")
        assert relative_error(ours, models.vectors[f"noise_pred.t{timestep}.uncond"]) < 1e-4


def test_ten_steps_of_ddim_in_a_batch_are_the_official_ones(models: Models):
    with torch.inference_mode():
        noise, prompt, negative = (models.vectors[f"input.{name}"] for name in ("noise", "prompt", "negative"))
        noise = torch.cat((noise, noise.flip(-1)))  # another image in the same batch
        prompt, negative = (text.expand(2, -1, -1) for text in (prompt, negative))
        garment, scheduler = GarmentInputs(models.layers), official_scheduler()
        latents = denoise(models.unet, noise, prompt, negative, garment, scheduler, steps=10, guidance=7.5)
        assert relative_error(latents[:1], models.vectors["latent.ddim10.cfg7.5"]) < 1e-3
        assert relative_error(latents[1:], models.vectors["latent.ddim10.cfg7.5"]) > 0.1


def test_the_images_pixels_are_the_official_ones():
    reference = load_file(REFERENCE / "garment_picture.safetensors")
    fitted = fit_official(Image.open(REFERENCE / "garment.png").convert("RGB"), 512, 640)
    assert relative_error(vae_pixels([fitted.vae]), reference["vae_pixels"]) < 2e-3
    assert relative_error(clip_pixels([fitted.clip]), reference["clip_pixels"]) < 2e-3
