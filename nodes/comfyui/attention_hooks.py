"""The garment in layers that another node computes in its own way: hooks around the attention, for one call.

An ``attn1`` replacement makes ComfyUI's block leave the path on which another node's ``attn1.forward`` or mask acts,
and a block of another node may not know replacements at all. Such a layer still projects Q with ``to_q`` and its
result with ``to_out``: hooks on the two see Q and Z, and whatever happens in between stays the other node's.

ComfyUI's own layers get replacements instead: a compiled graph keeps the hooks of the call that it was traced in.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from ...imagdressing_core.model.layers import LAYERS
from .batch import Options

Add = Callable[[Tensor, Tensor, Tensor, Tensor, Options, Tensor | None], Tensor]
"""(Z, q, k, v, options, context of the rows) → Z with the garments' terms."""


def blocks(unet: Any) -> dict[int, Any]:
    """Return the transformer blocks by the index of their self-attention layer."""
    return {layer.index: unet.get_submodule(layer.ldm_name) for layer in LAYERS}


def attentions(model: Any, own_blocks: Mapping[int, Any]) -> dict[int, Any]:
    """Return ComfyUI's ``attn1`` modules by layer index, also where another node has put its own in their place.

    model: ComfyUI's ``BaseModel``.
    """
    backup = getattr(model.current_patcher, "object_patches_backup", None) or {}
    found = {index: block.attn1 for index, block in own_blocks.items()}
    for layer in LAYERS:
        if not _projects(found[layer.index]):
            found[layer.index] = backup.get(f"diffusion_model.{layer.ldm_name}.attn1")
    return {index: attention for index, attention in found.items() if _projects(attention)}


def _projects(attention: Any) -> bool:
    return all(hasattr(attention, name) for name in ("to_q", "to_k", "to_v", "to_out"))


def foreign_layers(unet: Any, own_blocks: Mapping[int, Any]) -> frozenset[int]:
    """Return the indices of the layers that another node computes in its own way."""
    if is_foreign(unet, "UNetModel"):
        return frozenset(own_blocks)
    return frozenset(
        index
        for index, block in own_blocks.items()
        if is_foreign(block, "BasicTransformerBlock") or is_foreign(block.attn1, "CrossAttention")
    )


def is_foreign(module: Any, own: str) -> bool:
    """Return whether another node has put its own class or ``forward`` in the place of ComfyUI's class ``own``."""
    kind = type(module)
    # Once a node's ``forward`` is gone, ComfyUI leaves the class's own, bound, in its place.
    replaced = getattr(module.forward, "__func__", None) is not kind.forward
    return kind.__name__ != own or not kind.__module__.startswith("comfy.ldm.") or replaced


@contextmanager
def hooked(block: Any, attention: Any, add: Add) -> Iterator[None]:
    """While it lasts, ``add`` is called between the attention of this layer and its output projection."""
    seen: dict[str, Any] = {}

    def note_call(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["context"] = kwargs["context"] if "context" in kwargs else next(iter(args[1:]), None)
        options = kwargs.get("transformer_options") or {}
        precision = getattr(attention, "attn_precision", None)
        seen["options"] = options | {"n_heads": attention.heads, "attn_precision": precision}

    def note(name: str) -> Callable[[Any, Any, Tensor], None]:
        # A copy: what comes between may write into it.
        return lambda _, __, projected: seen.__setitem__(name, projected.clone())

    def add_terms(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        q, k, v = (seen.get(name) for name in "qkv")
        if q is None or k is None or v is None:
            return args
        options = seen.get("options") or {"n_heads": attention.heads}
        return add(args[0].clone(), q, k, v, options, seen.get("context")), *args[1:]

    with ExitStack() as hooks:
        hooks.callback(block.register_forward_pre_hook(note_call, with_kwargs=True).remove)
        for name in "qkv":
            hooks.callback(getattr(attention, f"to_{name}").register_forward_hook(note(name)).remove)
        hooks.callback(attention.to_out.register_forward_pre_hook(add_terms).remove)
        yield
