"""How far these nodes are from the official implementation: relative errors against its vectors, as a table.

Run ``make parity``. The same rows are asserted by ``tests/comfyui/test_parity.py``.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from imagdressing_core.files import official_files
from support import comfyui_process as comfyui
from support.comfyui_release import REPOSITORY

REFERENCE = REPOSITORY / "tests" / "reference"
DDIM_STEPS = 10


@dataclass(frozen=True)
class Row:
    what: str
    error: float
    limit: float


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Return ‖ours − reference‖ / ‖reference‖."""
    ours, reference = ours.double().cpu(), reference.double()
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float((ours - reference).norm() / reference.norm())


@cache
def vectors() -> dict[str, Tensor]:
    return load_file(REFERENCE / "hybrid_attention.safetensors")


@cache
def image_vectors() -> dict[str, Tensor]:
    return load_file(REFERENCE / "garment_picture.safetensors")


@cache
def dressing_model() -> Any:
    return comfyui.call("CheckpointLoaderSimple", ckpt_name=official_files.DENOISING.name)[0]


@cache
def garment_encoder() -> Any:
    return comfyui.call("IMAGDressingModelLoader", model_name=official_files.GARMENT.name)


def let_go(*loaders: Any) -> None:
    """Free the models that these cached functions have loaded, each of which takes gigabytes."""
    for loader in loaders:
        loader.cache_clear()
    gc.collect()


def as_garment_unet(tensor: Tensor) -> Tensor:
    """Return it where the garment U-Net runs, in the precision that it computes in."""
    encoder = garment_encoder()
    return tensor.to(encoder.garment_unet.load_device, encoder.garment_unet.model.get_dtype_inference())


def garment_of_vectors() -> Any:
    """Return the garment whose latent and CLIP hidden states the vectors give."""
    unscaled = vectors()["input.garment_latent"] / 0.18215
    images = garment_encoder().encode(unscaled, vectors()["input.clip_hidden"])
    return comfyui.pack("imagdressing_core.model.garment").Garment(images)


def reference_image() -> Tensor:
    """Return the garment image as Load Image gives it, (1, height, width, 3), 0 … 1."""
    import numpy
    from PIL import Image

    pixels = numpy.array(Image.open(REFERENCE / "garment.png").convert("RGB"))
    return torch.from_numpy(pixels).float()[None] / 255


def with_garment(garment: Any, strength: float) -> Any:
    return comfyui.call(
        "IMAGDressingApply",
        model=dressing_model(),
        garment=garment,
        strength=strength,
        start_percent=0.0,
        end_percent=1.0,
    )


def sample(model: Any, sampler: Any, sigmas: Tensor, noise: Tensor, cfg: float) -> Tensor:
    """Return the latent that ComfyUI's own guider and sampler make of the vectors' prompts."""
    guider = comfyui.call(
        "CFGGuider", model=model, positive=_conditioning("prompt"), negative=_conditioning("negative"), cfg=cfg
    )
    guider.model_options = guider.model_options | {"disable_cfg1_optimization": cfg == 0}
    latent = torch.zeros_like(noise)
    return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=0)


def noise_prediction(model: Any, timestep: int, cfg: float = 1.0) -> Tensor:
    """Return ε for the vectors' noise as x_t: of the conditional branch, or at ``cfg`` 0 of the unconditional one."""
    import comfy.samplers

    predictions: list[Tensor] = []

    def record(predict: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        # ComfyUI gives the U-Net x / √(σ² + 1) and takes x₀ = x − σ·ε.
        sigma = sigmas[0]
        x = vectors()["input.noise"].to(x) * (sigma**2 + 1).sqrt()
        denoised = predict(x, sigma.expand(len(x)), **extra_args)
        predictions.append((x - denoised) / sigma)
        return denoised

    sigma = model.get_model_object("model_sampling").sigmas[timestep]
    sample(model, comfy.samplers.KSAMPLER(record), torch.stack([sigma, sigma * 0]), vectors()["input.noise"], cfg)
    return predictions[0]


def ddim(model: Any) -> Tensor:
    """Return the official ten-step DDIM latent (``set_alpha_to_one=False``: the last step stops at ᾱ₀, not at 1)."""
    schedule = model.get_model_object("model_sampling")
    sigmas = comfyui.call("BasicScheduler", model=model, scheduler="ddim_uniform", steps=DDIM_STEPS, denoise=1.0)
    sigmas[-1] = schedule.sigmas[0]
    noise = vectors()["input.noise"] * (1 + sigmas[0] ** 2).sqrt() / sigmas[0]
    latent = sample(model, comfyui.call("KSamplerSelect", sampler_name="ddim"), sigmas, noise, cfg=7.5)
    return model.model.process_latent_in(latent) / (1 + float(schedule.sigmas[0]) ** 2) ** 0.5


def _conditioning(name: str) -> list[Any]:
    return [[vectors()[f"input.{name}"], {}]]


def garment_features(unet: Any, latent: Tensor, tokens: Tensor) -> dict[int, Tensor]:
    """Return C_g by layer index."""
    encoder = comfyui.pack("nodes.comfyui.garment_encoder")
    return encoder.garment_features(unet, latent, tokens, keep=lambda _, c_g: c_g)


@dataclass(frozen=True)
class Encoded:
    """A garment, and how far the stages that lead to it are from the official ones."""

    garment: Any
    rows: tuple[Row, ...]


@cache
def encoded() -> tuple[Encoded, Encoded]:
    """Return the garment from its latent on, and from its image on.

    The encoder is let go of before the denoising U-Net is loaded, since each takes as much memory as all the rest.
    """
    both = _encoded_latent(), _encoded_image()
    let_go(garment_encoder)
    return both


def rows_of_vectors() -> Iterator[Row]:
    """Compare everything from CLIP's hidden states and the garment's latent onwards."""
    reference, (from_latent, _) = vectors(), encoded()
    yield from from_latent.rows
    for timestep in (981, 501, 1):
        for strength in (0.0, 0.5, 1.0):
            ours = noise_prediction(with_garment(from_latent.garment, strength), timestep)
            error = relative_error(ours, reference[f"noise_pred.t{timestep}.lambda{strength}"])
            yield Row(f"noise prediction, t = {timestep}, λ = {strength}", error, 1e-4)
        ours = noise_prediction(with_garment(from_latent.garment, 1.0), timestep, cfg=0.0)
        error = relative_error(ours, reference[f"noise_pred.t{timestep}.uncond"])
        yield Row(f"noise prediction, t = {timestep}, unconditional", error, 1e-4)

    ours = ddim(with_garment(from_latent.garment, 1.0))
    yield Row("latent after ten DDIM steps, cfg 7.5", relative_error(ours, reference["latent.ddim10.cfg7.5"]), 1e-3)


def rows_of_image() -> Iterator[Row]:
    """Compare everything from the garment's image onwards."""
    reference, (_, from_image) = image_vectors(), encoded()
    yield from from_image.rows
    for strength in (0.0, 1.0):
        ours = noise_prediction(with_garment(from_image.garment, strength), 501)
        error = relative_error(ours, reference[f"noise_pred.t501.lambda{strength}"])
        yield Row(f"noise prediction from the image, t = 501, λ = {strength}", error, 1e-2)


def _encoded_latent() -> Encoded:
    reference = vectors()
    garment = garment_of_vectors()  # has ComfyUI load the models
    encoder = garment_encoder()
    tokens = encoder.adapter.model.qformer(as_garment_unet(reference["input.clip_hidden"]))
    latent = as_garment_unet(reference["input.garment_latent"])
    features = garment_features(encoder.garment_unet.model, latent, tokens)
    rows = (
        Row("garment tokens (Q-Former)", relative_error(tokens, reference["tokens"]), 1e-5),
        # 1.05e-5 where one thread sums what several sum apart
        Row("garment features, worst of 16 layers", _worst_feature(features, reference, "feature"), 2e-5),
    )
    return Encoded(garment, rows)


def _encoded_image() -> Encoded:
    import comfy.clip_vision

    reference, encoder = image_vectors(), garment_encoder()
    vae = comfyui.call("VAELoader", vae_name=official_files.VAE.name)
    clip_vision = comfyui.call("CLIPVisionLoader", clip_name=official_files.CLIP_VISION.name)
    inputs = {"vae": vae, "clip_vision": clip_vision, "fit": "official", "width": 512, "height": 640}
    image = reference_image()
    garment = comfyui.call("IMAGDressingEncodeGarment", imagdressing=encoder, image=image, **inputs)

    preprocess = comfyui.pack("imagdressing_core.images.preprocess")
    (fitted,) = (preprocess.fit_official(p, 512, 640) for p in preprocess.images_from_tensor(image))
    seen_by_vae, seen_by_clip = (preprocess.tensor_from_images([one]) for one in (fitted.vae, fitted.clip))
    clip_hidden = clip_vision.encode_image(seen_by_clip)["penultimate_hidden_states"]
    unet = encoder.garment_unet.model
    latent = as_garment_unet(unet.process_latent_in(vae.encode(seen_by_vae)))
    tokens = encoder.adapter.model.qformer(as_garment_unet(clip_hidden))
    features = garment_features(unet, latent, tokens)
    heads = {index: c_g[:, :: c_g.shape[1] // 8][:, :8] for index, c_g in features.items()}
    stages = (
        ("what the VAE sees", seen_by_vae.movedim(-1, 1) * 2 - 1, "vae_pixels", 2e-3),
        ("what CLIP sees", comfy.clip_vision.clip_preprocess(seen_by_clip), "clip_pixels", 2e-3),
        ("CLIP hidden states", clip_hidden, "clip_hidden", 5e-3),
        ("garment latent", latent, "garment_latent", 1e-2),
    )
    rows = tuple(Row(what, relative_error(ours, reference[name]), limit) for what, ours, name, limit in stages)
    error = _worst_feature(heads, reference, "feature_head")
    return Encoded(garment, (*rows, Row("garment features from the image, worst of 16 layers", error, 1e-2)))


def _worst_feature(features: Any, reference: dict[str, Tensor], prefix: str) -> float:
    return max(
        relative_error(features[layer.index], reference[f"{prefix}.{layer.diffusers_name}"])
        for layer in comfyui.pack("imagdressing_core.model.layers").LAYERS
    )


def main() -> None:
    print("| what | relative error | limit |\n| --- | --- | --- |")
    for rows in (rows_of_vectors(), rows_of_image()):
        for row in rows:
            print(f"| {row.what} | {row.error:.1e} | {row.limit:.0e} |", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
