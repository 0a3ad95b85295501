"""One step of training against the published formula, written out in float64 with module hooks."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor

from imagdressing_core.model.layers import LAYERS
from imagdressing_core.on_diffusers.unet import GarmentModel
from imagdressing_core.training.config import Models, Objective
from imagdressing_core.training.model import Frozen, TrainingBatch, load_models, training_loss
from imagdressing_core.training.objective import RandomDraws, min_snr_weight, noise_schedule
from imagdressing_core.training.tiny_models import CLIP_CHANNELS, CONTEXT, LATENT_CHANNELS, TEXT_TOKENS

BATCH, HEIGHT, WIDTH = 3, 10, 8


@pytest.fixture(scope="module")
def loaded(models: Path) -> tuple[Frozen, GarmentModel]:
    torch.manual_seed(3)
    frozen, garment = load_models(Models(base=models, image_encoder=models / "image_encoder"))
    frozen.to(torch.device("cpu"), torch.float64)
    return frozen, garment.double()


@pytest.fixture(scope="module")
def batch() -> TrainingBatch:
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    latent = BATCH, LATENT_CHANNELS, HEIGHT, WIDTH
    return TrainingBatch(
        person=normal(BATCH, 2 * LATENT_CHANNELS, HEIGHT, WIDTH),
        garment=normal(BATCH, 2 * LATENT_CHANNELS, HEIGHT, WIDTH),
        garment_kept=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64).view(-1, 1, 1, 1),
        clip_hidden=normal(BATCH, 17, CLIP_CHANNELS),
        text=normal(BATCH, TEXT_TOKENS, CONTEXT),
        draws=RandomDraws(
            torch.tensor([5, 480, 990]), normal(*latent), normal(*latent[:2], 1, 1), normal(*latent), normal(*latent)
        ),
        scaling=0.5,
    )


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return softmax(QKᵀ/√d)V, head by head."""
    size = q.shape[-1] // heads
    split = zip(*(t.split(size, dim=-1) for t in (q, k, v)), strict=True)
    return torch.cat([(a @ b.mT / size**0.5).softmax(dim=-1) @ c for a, b, c in split], dim=-1)


def written_out_loss(
    models: Path, garment: GarmentModel, batch: TrainingBatch, objective: Objective, alphas: Tensor
) -> Tensor:
    """Return the loss by the paper's Eq. 3 to 6, on a plain U-Net that knows nothing of hybrid attention."""
    unet: Any = UNet2DConditionModel.from_pretrained(str(models / "unet")).double().requires_grad_(False)
    draws = batch.draws
    mean, logvar = batch.garment.chunk(2, 1)
    garment_latent = (mean + (logvar / 2).exp() * draws.garment) * batch.scaling * batch.garment_kept
    mean, logvar = batch.person.chunk(2, 1)
    z_0 = (mean + (logvar / 2).exp() * draws.person) * batch.scaling
    noise = draws.noise + objective.noise_offset * draws.offset
    alpha = alphas.double()[draws.timestep].view(-1, 1, 1, 1)
    z_t = alpha**0.5 * z_0 + (1 - alpha) ** 0.5 * noise

    features: dict[int, Tensor] = {}
    queries: dict[int, Tensor] = {}

    def noting(into: dict[int, Tensor], index: int) -> Callable[..., None]:
        def note(_: Any, __: Any, output: Tensor) -> None:
            into[index] = output

        return note

    def adding(index: int, heads: int) -> Callable[..., tuple[Tensor]]:
        def add(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
            weights = garment.adapter_modules.get_submodule(str(index))
            c_g = features[index]
            k, v = (c_g @ weights.get_parameter(f"to_{kind}_ref.weight").mT for kind in ("k", "v"))
            return (args[0] + softmax_attention(queries[index], k, v, heads),)

        return add

    with ExitStack() as hooks:
        for layer in LAYERS:
            norm = garment.ref_unet.get_submodule(f"{layer.diffusers_name}.norm1")
            hooks.callback(norm.register_forward_hook(noting(features, layer.index)).remove)
            attention: Any = unet.get_submodule(f"{layer.diffusers_name}.attn1")
            attention.to_q.register_forward_hook(noting(queries, layer.index))
            attention.to_out[0].register_forward_pre_hook(adding(layer.index, attention.heads))
        garment.ref_unet(garment_latent, 0, garment.proj(batch.clip_hidden))
        prediction = unet(z_t, draws.timestep, batch.text).sample
    errors = ((prediction - noise) ** 2).flatten(1).mean(1)
    if objective.min_snr_gamma is not None:
        snr = alpha.view(-1) / (1 - alpha.view(-1))
        errors = errors * snr.clamp(max=objective.min_snr_gamma) / snr
    return errors.mean()


def gradients(loss: Tensor, garment: GarmentModel) -> dict[str, Tensor]:
    trained = {name: one for name, one in garment.named_parameters() if one.requires_grad}
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


@pytest.mark.parametrize(
    "objective",
    [Objective(noise_offset=0), Objective(noise_offset=0.05), Objective(noise_offset=0, min_snr_gamma=5.0)],
    ids=["the paper's", "noise offset", "min-SNR"],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_of_a_step_are_those_of_the_formula(
    models: Path, loaded: tuple[Frozen, GarmentModel], batch: TrainingBatch, objective: Objective, checkpointing: bool
):
    frozen, garment = loaded
    unets: list[Any] = [frozen.unet.train(), garment.ref_unet.train()]
    alphas = noise_schedule().alphas_cumprod
    expected_loss = written_out_loss(models, garment, batch, objective, alphas)
    expected = gradients(expected_loss, garment)
    for unet in unets:
        unet.enable_gradient_checkpointing() if checkpointing else unet.disable_gradient_checkpointing()
    loss = training_loss(frozen.unet, garment, batch, objective, alphas)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)
    found = gradients(loss, garment)
    for part in ("ref_unet.", "proj.", "adapter_modules."):
        ours, theirs = (
            torch.cat([one.flatten() for name, one in those.items() if name.startswith(part)])
            for those in (found, expected)
        )
        assert float(theirs.norm()) > 1e-6
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-6
    assert all(float(one.abs().max()) > 0 for one in found.values())


def test_the_frozen_parts_get_no_gradient(loaded: tuple[Frozen, GarmentModel], batch: TrainingBatch):
    frozen, garment = loaded
    loss = training_loss(frozen.unet, garment, batch, Objective(), noise_schedule().alphas_cumprod)
    loss.backward()
    assert all(
        one.grad is None for model in (frozen.unet, frozen.vae, frozen.text_encoder) for one in model.parameters()
    )
    unread = [name for name, one in garment.named_parameters() if not one.requires_grad]
    assert len(unread) == 24
    assert all("up_blocks.3.attentions.2" in name or "conv_norm_out" in name or "conv_out" in name for name in unread)
    garment.zero_grad()


def test_a_dropped_latent_leaves_the_tokens_to_the_garment(loaded: tuple[Frozen, GarmentModel], batch: TrainingBatch):
    frozen, garment = loaded
    dropped = replace(batch, garment_kept=torch.zeros_like(batch.garment_kept))
    alphas = noise_schedule().alphas_cumprod
    with torch.no_grad():
        losses = [
            float(training_loss(frozen.unet, garment, one, Objective(), alphas))
            for one in (
                dropped,
                replace(dropped, garment=batch.garment + 1),
                replace(dropped, clip_hidden=batch.person * 0 if False else batch.clip_hidden + 1),
            )
        ]
    assert losses[0] == losses[1] != losses[2]


def test_min_snr_is_the_published_weight():
    alphas = noise_schedule().alphas_cumprod
    timestep = torch.tensor([0, 300, 999])
    snr = alphas[timestep] / (1 - alphas[timestep])
    expected = torch.minimum(snr, torch.tensor(5.0)) / snr
    torch.testing.assert_close(min_snr_weight(alphas, timestep, 5.0), expected)
    assert min_snr_weight(torch.zeros(1), torch.tensor([0]), 5.0).tolist() == [1.0]


def test_the_schedule_is_that_of_the_samplers_unless_zero_snr_is_asked_for():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(noise_schedule().alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=0)
    assert float(noise_schedule().alphas_cumprod[-1]) > 0.004
    assert float(noise_schedule(zero_terminal_snr=True).alphas_cumprod[-1]) < 1e-6
