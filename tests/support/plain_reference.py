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
def wearing(
    model: Any, garment: Any, strength: float, prompts: Sequence[Tensor], region: Tensor | None = None
) -> Iterator[None]:
    """While it lasts, rows of ``model`` whose context is one of ``prompts`` wear the garment's first picture.

    region: (height, width), where it acts.
    """
    unet = model.model.diffusion_model
    picture = garment.images[0]
    rows: list[bool] = []
    latent: list[int] = []

    def note_rows(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows[:] = [any(torch.equal(row, prompt[0].to(row)) for prompt in prompts) for row in kwargs["context"]]
        latent[:] = args[0].shape[-2:]

    with ExitStack() as hooks:
        handle = unet.register_forward_pre_hook(note_rows, with_kwargs=True)
        hooks.callback(handle.remove)
        for layer in comfyui.pack("imagdressing_core.model.layers").LAYERS:
            attention = unet.get_submodule(f"{layer.ldm_name}.attn1")
            k, v = picture.layers[layer.index].k, picture.layers[layer.index].v
            for handle in _add_term(attention, k, v, strength, rows, latent, layer, region):
                hooks.callback(handle.remove)
        yield


def _add_term(
    attention: Any, k: Tensor, v: Tensor, strength: float, rows: list[bool], latent: list[int], layer: Any, region: Any
) -> list[Any]:
    queries: list[Tensor] = []

    def note_queries(_: Any, __: Any, q: Tensor) -> None:
        queries[:] = [q]

    def add(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        z = args[0].clone()
        tiles = len(z) // len(rows)
        for i, conditional in enumerate(row for row in rows for _ in range(tiles)):
            if conditional:
                term = plain_attention(queries[0][i], k[0].to(z), v[0].to(z), attention.heads)
                if region is not None:
                    grid = layer.grid(*latent)
                    share = torch.nn.functional.interpolate(region[None, None].double(), grid, mode="area").to(term)
                    term = term * share.reshape(-1, 1)
                z[i] += (strength * term).to(z)
        return (z,)

    return [
        attention.to_q.register_forward_hook(note_queries),
        attention.to_out.register_forward_pre_hook(add),
    ]


def plain_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return softmax(QKᵀ/√d)V of (tokens, C), head by head, in float64."""
    size = q.shape[-1] // heads
    parts = zip(*(t.double().split(size, dim=-1) for t in (q, k, v)), strict=True)
    return torch.cat([(a @ b.mT / size**0.5).softmax(dim=-1) @ c for a, b, c in parts], dim=-1)
