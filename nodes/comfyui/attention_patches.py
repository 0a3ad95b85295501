"""The attention patches that add the garments of one sampling run, built once for each kind of call.

Every layer's attention becomes Z = Attn(Q, K, V) + Σ λ·m·Attn(Q, K', V'), paper Eq. 5, where other nodes may compute
Attn(Q, K, V) in their own way. ComfyUI's own layers get an ``attn1`` replacement; layers that another node computes get
hooks (``attention_hooks.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...imagdressing_core.application.applied_garment import AppliedGarment
from ...imagdressing_core.model.hybrid_attention import add_in_place, garment_attention
from ...imagdressing_core.model.layers import LAYERS, SelfAttentionLayer
from ...imagdressing_core.model.magic_clothing import LayerFeatures, concatenated_difference
from .attention import attend
from .batch import ModelCall, Options
from .garment_terms import GarmentTerms, Term, is_concatenated

AttentionPatch = Callable[[Tensor, Tensor, Tensor, Options], Tensor]
"""An entry of ``patches_replace["attn1"]``: (q, k, v, extra_options) → attention before the output projection."""

OnTerm = Callable[[AppliedGarment, SelfAttentionLayer, Sequence[int], Tensor, Tensor], None]
"""Called with (garment, layer, image indices, attention without the garment, the term that the garment adds)."""

MOST_KINDS = 64
"""Kinds of calls that are kept. A node that makes its replacement anew in each step makes each step another kind."""


@dataclass(frozen=True)
class LayerTerms:
    """What all garments add in one layer of a call.

    rows: the number of rows of x. grid: (rows, columns) of the layer's tokens. attention: ComfyUI's ``attn1`` there.
    first: for each term, whether no earlier term acts in its rows.
    """

    layer: SelfAttentionLayer
    rows: int
    grid: tuple[int, int]
    terms: tuple[Term, ...]
    first: tuple[bool, ...]
    attention: Any


@dataclass(frozen=True)
class CallPatches:
    """The patches of one kind of call.

    replacements: for ``patches_replace["attn1"]``, those of other nodes included.
    hooked: the layers that other nodes compute in their own way.
    acting: the garments, by their id, that act in some row of the call.
    structure: a number that differs wherever a compiled graph of the call would differ.
    """

    replacements: dict[Any, AttentionPatch]
    hooked: tuple[LayerTerms, ...]
    acting: frozenset[int]
    structure: int


class AttentionPatches:
    """The patches of one sampling run.

    latent_size: (height, width) of the latent being sampled, to notice calls that see only a part of it.
    on_term: called with what each garment adds.
    compiled_on: the device of a compiled run.
    """

    def __init__(
        self,
        garments: Sequence[AppliedGarment],
        latent_size: tuple[int, int] | None = None,
        on_term: OnTerm | None = None,
        compiled_on: torch.device | None = None,
    ) -> None:
        self.terms = GarmentTerms(garments, latent_size, compiled_on)
        self.reached: set[tuple[int, int]] = set()
        """(id of a garment, index of a layer) for each term that was added; compiled runs record nothing."""
        self._answered: set[int] = set()  # indices of this call's layers that have had their terms for all rows
        self._on_term, self._compiled = on_term, compiled_on is not None
        self._calls: dict[Any, tuple[CallPatches, Any]] = {}

    def for_call(
        self,
        acting: Mapping[int, tuple[AppliedGarment, float]],
        call: ModelCall,
        existing: Mapping[Any, AttentionPatch],
        attentions: Callable[[], Mapping[int, Any]],
        foreign: frozenset[int] = frozenset(),
    ) -> CallPatches:
        """Return what the acting garments put into a call. Built once for each kind of call; λ is set at each.

        Args:
            acting: the garments that act, by their id, with the schedule's factor of λ at this moment.
            existing: the ``attn1`` replacements of other nodes.
            attentions: returns ComfyUI's ``attn1`` modules by layer index.
            foreign: indices of the layers that another node computes in its own way.
        """
        self._answered.clear()
        for key, (_, factor) in acting.items():
            self.terms.strengths[key].set_factor(factor)
        garments = tuple(applied for applied, _ in acting.values())
        kind = (tuple(acting), call, tuple((key, id(patch)) for key, patch in existing.items()), foreign)
        if len(self._calls) > MOST_KINDS:
            self._calls.clear()
        if kind not in self._calls:
            # The entry keeps every object whose id is part of the key, so that no other object can get that id.
            kept = garments, tuple(existing.values())
            self._calls[kind] = self._build(garments, call, existing, attentions(), foreign), kept
        return self._calls[kind][0]

    def _build(
        self,
        garments: Sequence[AppliedGarment],
        call: ModelCall,
        existing: Mapping[Any, AttentionPatch],
        attentions: Mapping[int, Any],
        foreign: frozenset[int],
    ) -> CallPatches:
        replacements, hooked, structure, found = dict(existing), [], [], set[int]()
        for layer in LAYERS:
            terms = self.layer_terms(layer, garments, call, attentions.get(layer.index))
            if not terms.terms:
                continue
            found.update(id(term.applied) for term in terms.terms)
            if layer.index in foreign:
                hooked.append(terms)
                continue
            place = (*layer.block, 0)
            inner = existing.get(place, existing.get(layer.block))
            replacements[place] = self._replacement(inner, terms)
            structure.append((layer.index, inner is None, *(_structure(term, layer) for term in terms.terms)))
        return CallPatches(replacements, tuple(hooked), frozenset(found), hash(tuple(structure)))

    def layer_terms(
        self, layer: SelfAttentionLayer, garments: Sequence[AppliedGarment], call: ModelCall, attention: Any
    ) -> LayerTerms:
        """Return what the garments add in one layer of a call."""
        terms = tuple(term for term in self.terms.of_call(garments, call) if term.applied.full_strength(layer))
        grid = layer.grid(call.height, call.width)
        for term in terms:
            if term.masks is not None:
                term.masks.on_grid(*grid)  # now, outside of what may be compiled
        rows = [set(range(len(call.rows))[term.rows]) for term in terms]
        first = tuple(its.isdisjoint(set().union(*rows[:number])) for number, its in enumerate(rows))
        return LayerTerms(layer, len(call.rows), grid, terms, first, attention)

    def _replacement(self, inner: AttentionPatch | None, terms: LayerTerms) -> AttentionPatch:
        """Return the layer's attention with all garments' terms added to what ``inner`` makes of Attn(Q, K, V)."""
        concatenated = any(is_concatenated(term.applied) for term in terms.terms)

        def patched_attention(q: Tensor, k: Tensor, v: Tensor, extra_options: Options) -> Tensor:
            if inner is None:
                z = attend(q, k, v, extra_options)
            else:  # it may write into its arguments, or keep the tensor that it returns
                given = (k.clone(), v.clone()) if concatenated else (k, v)
                z = inner(q.clone(), *given, extra_options).clone()
            return self.add(terms, z, q, k, v, extra_options, plain=inner is None)

        return patched_attention

    def add(
        self, terms: LayerTerms, z: Tensor, q: Tensor, k: Tensor, v: Tensor, options: Options, plain: bool = False
    ) -> Tensor:
        """Add all terms to Z of a layer, in place; each (rows × cuts, tokens, C).

        plain: whether Z is Attn(Q, K, V) itself, unchanged by other nodes.
        """
        if len(z) != len(q) or len(q) % terms.rows:
            # A block of another node may call once more for some rows only, after all rows have had their terms.
            if terms.layer.index not in self._answered:
                for term in terms.terms:
                    self.terms.say_rows_unknown(term.applied)
            return z
        cuts = (terms.rows, len(q) // terms.rows)
        if z.requires_grad:  # where a LoRA is trained through the garment: attention keeps its result for the way back
            z = z.clone()
        for term, first in zip(terms.terms, terms.first, strict=True):
            target = z.unflatten(0, cuts)[term.rows]  # (rows, cuts, tokens, C)
            own = target.flatten(0, 1) if plain and first else None
            added = _attended(term, terms, cuts, q, k, v, options, own).view(target.shape)
            mask = self._mask(term, terms, q.shape[1], options)
            if mask is not None:
                added = added * mask if added.requires_grad else added.mul_(mask)
            strength = term.strengths[terms.layer]
            if self._on_term is not None:
                base, shown = target.flatten(0, 1), (strength * added).flatten(0, 1)
                self._on_term(term.applied, terms.layer, term.images, base, shown)
            add_in_place(target, added, strength)
            if not self._compiled:
                self.reached.add((id(term.applied), terms.layer.index))
        if not self._compiled:
            self._answered.add(terms.layer.index)
        return z

    def _mask(self, term: Term, terms: LayerTerms, tokens: int, options: Options) -> Tensor | None:
        """Return each token's share of the mask, (rows or 1, 1, tokens, 1); None where they are no grid: said once."""
        if term.masks is None:
            return None
        grid = terms.grid
        if grid[0] * grid[1] != tokens:  # the U-Net may work on another size here, which ComfyUI tells
            shape = options.get("activations_shape") or (0, 0)
            grid = shape[-2], shape[-1]
        if grid[0] * grid[1] != tokens:
            self.terms.say_mask_left_out(term.applied, "another node merges or tiles the tokens")
            return None
        return term.masks.on_grid(*grid).unsqueeze(1)


def _attended(
    term: Term,
    terms: LayerTerms,
    cuts: tuple[int, int],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: Options,
    plain: Tensor | None,
) -> Tensor:
    """Return what the garment adds at λ = 1, (rows × cuts, tokens, C): Attn(Q, K', V'), or MagicClothing's difference.

    plain: Attn(Q, K, V) of the term's rows, if it is known.
    """
    attention = partial(attend, options=options)

    def part(tensor: Tensor) -> Tensor:
        return tensor.reshape(len(q), -1, tensor.shape[-1]).unflatten(0, cuts)[term.rows].flatten(0, 1)

    garment: Any = term.image.layers[terms.layer.index]
    if isinstance(garment, LayerFeatures):
        own = terms.attention
        garment_k, garment_v = own.to_k(garment.c), own.to_v(garment.c)
        return concatenated_difference(part(q), part(k), part(v), garment_k, garment_v, attention, plain)
    return garment_attention(part(q), garment, attention)


def _structure(term: Term, layer: SelfAttentionLayer) -> tuple[Any, ...]:
    """Return the properties of a term that a compiled graph has built in."""
    shapes = tuple(tuple(tensor.shape) for tensor in term.image.layers[layer.index].tensors.values())
    rows = term.rows.start, term.rows.stop, term.rows.step
    return rows, shapes, term.masks is None, term.image.kind.__name__
