"""The official files compute, to the last digits of float64, what the narrow networks do."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demo import data, models, narrow, parts, widening, world
from imagdressing_core.model.hybrid_attention import GarmentProjections
from imagdressing_core.model.qformer import QFormer
from imagdressing_core.on_diffusers.unet import (
    GarmentInputs,
    GarmentModel,
    install_hybrid_attention,
    noise_prediction,
)

EXACT = 1e-9
ROUNDED = 1e-5


@pytest.fixture(autouse=True)
def nothing_is_trained() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def test_a_widened_denoising_unet_with_a_widened_garment_predicts_the_same_noise() -> None:
    unet = shaken(narrow.narrow_unet())
    install_hybrid_attention(unet)
    garment = shaken(parts.garment_model(unet))
    wide_unet = built(narrow.wide_unet, models.wide_unet(unet.state_dict(), torch.float64))
    install_hybrid_attention(wide_unet)
    weights = models.garment_checkpoint(garment.state_dict(), torch.float64)
    wide_garment = built(
        lambda: GarmentModel(narrow.wide_unet(), QFormer(), GarmentProjections()),
        weights,
    )
    latent, flat = torch.randn(2, 1, 4, 8, 8).double()
    context, clip_hidden = torch.randn(1, data.TOKENS, narrow.CONTEXT).double(), torch.randn(1, 257, 1280).double()
    wide_context = nn.functional.pad(context, (0, narrow.WIDE_CONTEXT - narrow.CONTEXT))

    def prediction(unet: nn.Module, garment: nn.Module, text: Tensor) -> Tensor:
        worn = GarmentInputs(garment(flat, clip_hidden))
        return noise_prediction(unet, latent, torch.tensor([300]), text, worn)

    with_garment, wide_with_garment = (
        prediction(unet, garment, context),
        prediction(wide_unet, wide_garment, wide_context),
    )

    assert difference(with_garment, wide_with_garment) < EXACT
    assert difference(with_garment, noise_prediction(unet, latent, torch.tensor([300]), context)) > 1e-3


def test_a_widened_controlnet_controls_alike() -> None:
    control = shaken(narrow.narrow_controlnet())
    wide = built(narrow.wide_controlnet, models.controlnet(control.state_dict(), torch.float64))
    latent, seen = torch.randn(1, 4, 8, 8).double(), torch.rand(1, 3, 64, 64).double()

    def residuals(control: nn.Module, channels: int) -> list[Tensor]:
        text = torch.zeros(1, data.TOKENS, channels).double()
        down, middle = control(latent, torch.tensor([500]), text, seen, return_dict=False)
        return [*down, middle]

    for one, other in zip(residuals(control, narrow.CONTEXT), residuals(wide, narrow.WIDE_CONTEXT), strict=True):
        assert difference(one, other[:, : one.shape[1]]) < EXACT
        assert not other[:, one.shape[1] :].any()


def test_the_vae_encodes_means_and_decodes_as_the_narrow_one() -> None:
    decoder = shaken(narrow.narrow_decoder())
    trained = {key: one for key, one in decoder.state_dict().items() if key.startswith(("decoder.", "post_quant"))}
    wide = built(narrow.wide_vae, models.vae(trained, torch.float64))
    pixels = data.pixels([world.image(data.drawn(0), 64)]).double()
    latent = torch.randn(1, 4, 4, 4).double()

    encoded = wide.encode(pixels).latent_dist
    decoded = wide.decode(latent / models.FACTOR).sample

    assert difference(data.encode(pixels), encoded.mean * models.FACTOR) < ROUNDED
    assert float(encoded.std.max()) < ROUNDED
    assert difference(decoder.decoder(decoder.post_quant_conv(latent)), decoded) < EXACT


def test_the_text_encoder_gives_known_words_their_vectors_and_others_none() -> None:
    weights = models.text_encoder(torch.float32)
    keys = models.shapes(models.clip_text)
    encoder = built(models.clip_text, {key: one for name, one in weights.items() if (key := renamed(name, keys))})
    beach, unknown = models.WORD_TOKENS["beach"][0], 320
    ids = torch.tensor([[49406, unknown, beach, 49407]])

    found = encoder(ids).last_hidden_state

    expected = data.context(torch.tensor([[-1, -1, data.VOCABULARY.index("beach"), -1]]))[:, :4]
    assert difference(expected, found[..., : narrow.CONTEXT]) < ROUNDED
    assert not found[..., narrow.CONTEXT :].any()


def test_every_word_of_the_world_has_its_own_tokens() -> None:
    tokens = [token for word in data.VOCABULARY for token in models.WORD_TOKENS[word]]

    assert len(tokens) == len(set(tokens))


def test_the_checkpoint_names_its_tensors_as_single_files_do() -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    keys = list(models.shapes(narrow.wide_unet))
    checkpoint: Any = {f"model.diffusion_model.{widening.ldm_name(key)}": torch.tensor(i) for i, key in enumerate(keys)}

    found = convert_ldm_unet_checkpoint(
        checkpoint, {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
    )

    assert {key: int(one) for key, one in found.items()} == {key: i for i, key in enumerate(keys)}


def shaken(module: Any) -> Any:
    """Return a network in float64 whose every weight has been moved from where it starts."""
    for parameter in module.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return module.double()


def built(build: Callable[[], Any], weights: dict[str, Tensor]) -> Any:
    """Return a wide network with these weights; zeros that nothing writes to take no memory."""
    with torch.device("meta"):
        module = build()
    module.load_state_dict(weights, assign=True, strict=False)
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, torch.arange(buffer.numel()).view(buffer.shape))
    return module.eval()


def renamed(name: str, keys: dict[str, tuple[int, ...]]) -> str | None:
    return next((key for key in (name, name.removeprefix("text_model.")) if key in keys), None)


def difference(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).norm() / expected.norm())
