"""Both U-Nets on diffusers: the garment's features, hybrid attention over them, and the predicted noise.

Needs diffusers (the extra ``training``).
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..errors import IMAGDressingError
from ..model.garment import LayerKV
from ..model.garment_unet import Note, no_noise, read_garment
from ..model.hybrid_attention import GarmentProjections, hybrid_attention
from ..model.layers import LAYERS
from ..model.qformer import QFormer


class GarmentModel(nn.Module):
    """The trained parts, a garment in and its K', V' out: garment U-Net, Q-Former and garment projections.

    They have the official file's names, so that the state dict is, key for key, an official checkpoint's ``module``.
    """

    def __init__(self, garment_unet: nn.Module, qformer: QFormer, projections: GarmentProjections) -> None:
        super().__init__()
        self.ref_unet = garment_unet
        self.proj = qformer
        self.adapter_modules = projections

    def forward(self, latent: Tensor, clip_hidden: Tensor) -> dict[int, LayerKV]:
        """Encode a batch of garments: K' and V' by layer index, each (batch, garment tokens, C).

        Args:
            latent: The garments' scaled VAE latents without noise, (batch, 4, height / 8, width / 8).
            clip_hidden: CLIP's penultimate hidden states, (batch, 257, 1280).
        """
        dtype = self.proj.latents.dtype
        features = garment_features(self.ref_unet, latent.to(dtype), self.proj(clip_hidden.to(dtype)))
        return self.adapter_modules(features)


def garment_model(garment_unet: nn.Module, clip_channels: int) -> GarmentModel:
    """Return the trained parts around ``garment_unet``, with untrained Q-Former and projections of its width.

    Args:
        garment_unet: A diffusers U-Net built as SD1.5's.
        clip_channels: The width of the image encoder's hidden states.
    """
    context: int = garment_unet.config.cross_attention_dim  # pyright: ignore
    qformer = QFormer(channels=context, heads=max(1, context // 64), embedding_channels=clip_channels)
    return GarmentModel(garment_unet, qformer, GarmentProjections(channels=layer_channels(garment_unet)))


def layer_channels(unet: nn.Module) -> dict[int, int]:
    """Return the width C of each self-attention layer of a diffusers U-Net, by official index.

    Raises:
        IMAGDressingError: the U-Net has not the 16 layers of SD1.5.
    """
    try:
        return {layer.index: _self_attention(unet, layer.diffusers_name).query_dim for layer in LAYERS}
    except AttributeError as error:
        raise IMAGDressingError(
            f"The U-Net is not built as SD1.5's: {error}. Hybrid attention needs its 16 self-attention layers."
        ) from error


def garment_features(unet: nn.Module, latent: Tensor, tokens: Tensor) -> dict[int, Tensor]:
    """Return C_g: the normalised input of each self-attention layer, {layer index: (batch, garment tokens, C)}.

    The pass runs at t = 0 and ends with the last layer that is needed.

    Args:
        unet: The garment U-Net.
        latent: The garments' scaled VAE latents, (batch, 4, h, w).
        tokens: The Q-Former's, (batch, 16, 768), which are the garment U-Net's context.
    """

    def run(note: Note) -> None:
        with ExitStack() as hooks:
            for layer in LAYERS:
                attention = _self_attention(unet, layer.diffusers_name)
                hook = attention.register_forward_pre_hook(lambda _, args, index=layer.index: note(index, args[0]))
                hooks.callback(hook.remove)
            unet(latent, no_noise(latent), tokens)

    return read_garment(run, keep=lambda _, c_g: c_g)


@dataclass(frozen=True)
class GarmentInputs:
    """The garments of one call of the denoising U-Net.

    Attributes:
        layers: K' and V' by layer index, (1 or as many as rows with a garment, garment tokens, C).
        strength: λ.
        first_row: The first row of the batch with a garment; the negative rows come before it.
    """

    layers: Mapping[int, LayerKV]
    strength: float = 1.0
    first_row: int = 0


class HybridAttnProcessor:
    """Self-attention layer ``index`` of the denoising U-Net: Eq. 5 for the rows that have a garment."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        garment: GarmentInputs | None = None,
    ) -> Tensor:
        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=attn.heads) for t in (q, k, v))
            return rearrange(scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")

        q, k, v = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        z = attention(q, k, v)
        if garment is not None:
            layer, first = garment.layers[self.index].map(lambda tensor: tensor.to(q.dtype)), garment.first_row
            with_garment = hybrid_attention(z[first:], q[first:], layer, garment.strength, attention)
            if first:
                z = z.clone() if z.requires_grad else z  # for its gradient, attention keeps the result as it was
                z[first:] = with_garment
            else:
                z = with_garment
        return attn.to_out[1](attn.to_out[0](z))


def install_hybrid_attention(unet: nn.Module) -> None:
    """Let a diffusers SD1.5 U-Net take ``cross_attention_kwargs={"garment": GarmentInputs}``.

    Without them it computes what it did before.

    Raises:
        IMAGDressingError: The U-Net does not have the 16 layers of SD1.5.
    """
    from diffusers.models.attention_processor import AttnProcessor2_0

    class TextAttnProcessor(AttnProcessor2_0):
        """Cross-attention, which the garment has no part in."""

        def __call__(self, *args: Any, garment: GarmentInputs | None = None, **kwargs: Any) -> Tensor:
            return super().__call__(*args, **kwargs)

    layer_channels(unet)  # raises for a U-Net that is not built as SD1.5's
    for layer in LAYERS:
        block: Any = unet.get_submodule(layer.diffusers_name)
        block.attn1.set_processor(HybridAttnProcessor(layer.index))
        block.attn2.set_processor(TextAttnProcessor())


def noise_prediction(
    unet: nn.Module, x: Tensor, timestep: Tensor, text: Tensor, garment: GarmentInputs | None = None
) -> Tensor:
    """Return ε_θ(x_t, t, C_t, C_g) of a U-Net with hybrid attention, (rows, 4, h, w).

    Args:
        unet: See :func:`install_hybrid_attention`.
        x: x_t, (rows, 4, h, w).
        timestep: t, (rows,) or a scalar.
        text: C_t, (rows, 77, 768).
        garment: C_g as K' and V'; None for the base model alone.
    """
    return unet(x, timestep, text, cross_attention_kwargs=None if garment is None else {"garment": garment}).sample


def _self_attention(unet: nn.Module, block: str) -> Any:
    return unet.get_submodule(f"{block}.attn1")
