"""Hybrid attention written out as plainly as possible, to hold the nodes against.

Module hooks on the denoising U-Net's linear layers add λ·softmax(QK'ᵀ/√d)V' in float64 to whatever reaches ``to_out``.
None of the pack's own patching, batching or attention code takes part, so every other node composes with it by itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from support import comfyui_process as comfyui


@contextmanager
def garment_by_hooks(
    model: Any, garment: Any, strength: float, prompts: Sequence[Tensor], mask: Tensor | None = None
) -> Iterator[None]:
    """While it lasts, rows of ``model`` whose context is one of ``prompts`` get the garment's first image.

    mask: (height, width), where it acts.
    """
    unet = model.model.diffusion_model
    image = garment.images[0]
    latent: list[int] = []

    def note_size(_: Any, args: tuple[Any, ...]) -> None:
        latent[:] = args[0].shape[-2:]

    with ExitStack() as hooks:
        hooks.callback(unet.register_forward_pre_hook(note_size).remove)
        for layer in comfyui.pack("imagdressing_core.model.layers").LAYERS:
            # Not the module that another node may have put in the place of ComfyUI's.
            attention = model.get_model_object(f"diffusion_model.{layer.ldm_name}.attn1")
            block = unet.get_submodule(layer.ldm_name)
            k, v = image.layers[layer.index].k, image.layers[layer.index].v
            for handle in _add_term(block, attention, k, v, strength, prompts, latent, layer, mask):
                hooks.callback(handle.remove)
        yield


def _add_term(
    block: Any,
    attention: Any,
    k: Tensor,
    v: Tensor,
    strength: float,
    prompts: Sequence[Tensor],
    latent: list[int],
    layer: Any,
    mask: Tensor | None,
) -> list[Any]:
    rows: list[bool] = []
    queries: list[Tensor] = []

    def note_rows(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        context = kwargs["context"] if "context" in kwargs else args[1]
        rows[:] = [any(torch.equal(row, prompt[0].to(row)) for prompt in prompts) for row in context]

    def note_queries(_: Any, __: Any, q: Tensor) -> None:
        queries[:] = [q.clone()]

    def add(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        z = args[0].clone()
        tiles = len(z) // len(rows)
        for i, conditional in enumerate(row for row in rows for _ in range(tiles)):
            if conditional:
                term = plain_attention(queries[0][i], k[0].to(z), v[0].to(z), attention.heads)
                if mask is not None:
                    grid = layer.grid(*latent)
                    share = torch.nn.functional.interpolate(mask[None, None].double(), grid, mode="area").to(term)
                    term = term * share.reshape(-1, 1)
                z[i] += (strength * term).to(z)
        return (z,)

    return [
        block.register_forward_pre_hook(note_rows, with_kwargs=True),
        attention.to_q.register_forward_hook(note_queries),
        attention.to_out.register_forward_pre_hook(add),
    ]


def plain_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return softmax(QKᵀ/√d)V of (tokens, C), head by head, in float64."""
    size = q.shape[-1] // heads
    parts = zip(*(t.double().split(size, dim=-1) for t in (q, k, v)), strict=True)
    return torch.cat([(a @ b.mT / size**0.5).softmax(dim=-1) @ c for a, b, c in parts], dim=-1)
