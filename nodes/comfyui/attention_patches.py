"""One sampling run's garments: moved to its device once, fitted to each call of the diffusion model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...imagdressing_core.application.applied_garment import Acting, AppliedGarment, same_garments, strength_by_layer
from ...imagdressing_core.application.strengths import LayerWeights
from ...imagdressing_core.model.garment import GarmentImage, join_images
from ...imagdressing_core.model.hybrid_attention import hybrid_attention
from ...imagdressing_core.model.layers import LAYERS, SelfAttentionLayer
from ...imagdressing_core.model.magic_clothing import LayerFeatures, blank, concatenated_attention
from ...imagdressing_core.model.mask import crop_mask, mask_tokens
from .attention import attend
from .feedback import warn

Options = dict[str, Any]
Area = tuple[int, int, int, int]
AttentionPatch = Callable[[Tensor, Tensor, Tensor, Options], Tensor]
"""An entry of ``patches_replace["attn1"]``: (q, k, v, extra_options) → attention before the output projection."""

Watch = Callable[[AppliedGarment, SelfAttentionLayer, Sequence[int], Tensor, Tensor, tuple[int, int]], None]
"""Is shown (garment, layer, image numbers, attention before and after the garment's term, grid of the tokens)."""


@dataclass(frozen=True)
class Call:
    """How the batch of one call of the diffusion model is made up: prompts one after the other, each × ``image_indices``.

    conditional: for each prompt, whether it is what the image should be rather than what it should not.
    areas: for each prompt, the (height, width, top, left) of the latent it is about, or None for all of it.
    image_indices: the numbers, within the whole batch, of the images being computed.
    height, width: of the latent in this call.
    """

    conditional: tuple[bool, ...]
    areas: tuple[Area | None, ...]
    image_indices: tuple[int, ...]
    height: int
    width: int
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Term:
    """What one garment adds to the attention of ``rows`` of the batch, counted in images; ``image_indices`` numbers them."""

    worn: AppliedGarment
    image_indices: Sequence[int]
    rows: slice
    image: GarmentImage
    strengths: LayerWeights
    region: Tensor | None


class AttentionPatches:
    """The garments of one sampling run.

    latent_size: (height, width) of the latent being sampled, to notice calls that see only a part of it.
    watch: is shown what each garment adds.
    """

    def __init__(self, latent_size: tuple[int, int] | None = None, watch: Watch | None = None) -> None:
        self._latent_size = latent_size
        self._watch = watch
        self._images: dict[Any, GarmentImage] = {}
        self._patches: dict[Any, dict[Any, AttentionPatch]] = {}
        self._warned: set[tuple[str | None, str]] = set()

    def attention_patches(
        self, acting: Sequence[Acting], call: Call, existing: Mapping[Any, AttentionPatch], unet: nn.Module
    ) -> dict[Any, AttentionPatch]:
        """Return ``existing`` attention patches with the acting garments' terms added to the layers they act in.

        The same patches are returned for the same situation: nothing is built, and nothing recompiled, per step.
        unet: the denoising U-Net, whose own projections MagicClothing's garments go through.
        """
        situation = (
            tuple((id(worn), factor) for worn, factor in acting),
            call,
            tuple((key, id(patch)) for key, patch in existing.items()),
        )
        if situation not in self._patches:
            terms = [term for one in self._added_up(acting) for term in self._terms(*one, call)]
            patches = dict(existing)
            for layer in LAYERS:
                if any(term.strengths[layer.index] for term in terms):
                    block = (*layer.block, 0)
                    inner = existing.get(block, existing.get(layer.block))
                    patches[block] = self._dressed_attention(inner, layer, terms, call, unet)
            self._patches[situation] = patches
        return self._patches[situation]

    def _added_up(self, acting: Sequence[Acting]) -> list[tuple[AppliedGarment, LayerWeights]]:
        """Return garments with λ by layer: what is the same as one, but each by itself where somebody watches."""
        groups = [[one] for one in acting] if self._watch else same_garments(acting)
        return [(group[0][0], strength_by_layer(group)) for group in groups]

    def _terms(self, worn: AppliedGarment, strengths: LayerWeights, call: Call) -> list[Term]:
        terms: list[Term] = []
        for prompt, conditional in enumerate(call.conditional):
            wears = conditional or worn.branches == "both"
            if not wears and worn.garment.kind is not LayerFeatures:
                continue
            region = self._region(worn, call, prompt)
            first = prompt * len(call.image_indices)
            for part, images in worn.images_for(call.image_indices):
                rows = slice(first + part.start, first + part.stop)
                own_region = region if region is None or len(region) == 1 else region[part]
                image = self._on_device(images, call)
                shown = image if wears else blank(image)
                terms.append(Term(worn, call.image_indices[part], rows, shown, strengths, own_region))
        return terms

    def _on_device(self, images: tuple[GarmentImage, ...], call: Call) -> GarmentImage:
        key = (tuple(map(id, images)), call.device, call.dtype)
        if key not in self._images:
            self._images[key] = join_images([image.to(call.device, call.dtype) for image in images])
        return self._images[key]

    def _region(self, worn: AppliedGarment, call: Call, prompt: int) -> Tensor | None:
        region = worn.masks_for(call.image_indices)
        if region is None:
            return None
        region = region.to(call.device, torch.float32)
        size, area = self._latent_size, call.areas[prompt]
        if size is not None and area is not None:
            region = crop_mask(region, size, area)
            size = area[0], area[1]
        if size not in (None, (call.height, call.width)):
            self._warn(worn, "another node samples the image in tiles")
            return None
        return region

    def _dressed_attention(
        self,
        inner: AttentionPatch | None,
        layer: SelfAttentionLayer,
        terms: Sequence[Term],
        call: Call,
        unet: nn.Module,
    ) -> AttentionPatch:
        """Return the layer's attention with all garments' terms added to what ``inner`` makes of Attn(Q, K, V)."""
        rows = len(call.conditional) * len(call.image_indices)
        grid = layer.grid(call.height, call.width)
        acting = [
            (term, None if term.region is None else mask_tokens(term.region, *grid).to(call.dtype))
            for term in terms
            if term.strengths[layer.index]
        ]

        def dressed_attention(q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
            attention = partial(attend, options=extra_options)
            z = attention(q, k, v) if inner is None else inner(q, k, v, extra_options).clone()
            tiles = len(q) // rows  # HyperTile cuts each image into as many rows
            for term, region in acting:
                part = slice(term.rows.start * tiles, term.rows.stop * tiles)
                if region is not None and region.shape[1] != q.shape[1]:
                    self._warn(term.worn, "another node merges or tiles the tokens")
                    region = None
                strength = term.strengths[layer.index]
                before = z[part].clone() if self._watch else None
                garment: Any = term.image.layers[layer.index]
                if isinstance(garment, LayerFeatures):
                    k, v = (t.reshape(len(q), -1, t.shape[-1]) for t in (k, v))  # HyperTile cuts q alone
                    own: Any = unet.get_submodule(f"{layer.ldm_name}.attn1")
                    garment_k, garment_v = own.to_k(garment.c), own.to_v(garment.c)
                    z[part] = concatenated_attention(
                        z[part], q[part], k[part], v[part], garment_k, garment_v, strength, attention, region
                    )
                else:
                    z[part] = hybrid_attention(z[part], q[part], garment, strength, attention, region)
                if self._watch and before is not None:
                    self._watch(term.worn, layer, term.image_indices, before, z[part], grid)
            return z

        return dressed_attention

    def _warn(self, worn: AppliedGarment, why: str) -> None:
        if (worn.label, why) not in self._warned:
            self._warned.add((worn.label, why))
            warn(f"The garment acts outside its mask too: {why}, which a mask cannot follow.", worn.label)
