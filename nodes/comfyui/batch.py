"""Which rows of a call of the denoising U-Net are which prompt and which image of the batch.

ComfyUI sends the prompts one after the other, each with every image of the batch (or of a context window)::

    rows of x     prompt 0: image 0, image 1, …   │ prompt 1: image 0, image 1, …
                  positive                        │ negative
    the garment   these rows                      │ none (branches = both: these too)

Other nodes send other rows: tile by tile, image by image, one prompt, a reference image beside the others::

    rows of x     tile 0: prompt 0 │ prompt 1     │ tile 1: prompt 0 │ prompt 1     │ …

Where the number of rows does not fit the first layout, each row's own context, the text that it attends to, tells its
prompt; its position then tells nothing. A row that neither identifies stays unknown (None). It goes without the garment
and ``GarmentTerms`` warns of it: nothing is guessed.

Within self-attention HyperTile cuts each row of x into as many rows of q, which stay together::

    rows of q     row 0: cut 0, cut 1, …          │ row 1: cut 0, cut 1, …
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Options = dict[str, Any]
Area = tuple[int, int, int, int]


@dataclass(frozen=True)
class Row:
    """One row of a call.

    conditional: whether its prompt is one that the image should follow, rather than keep away from; None: unknown.
    image: its index in the whole batch; None: unknown.
    area: the part (height, width, top, left) of the latent that its prompt is for; None: all of it.
    """

    conditional: bool | None
    image: int | None
    area: Area | None = None


UNKNOWN = Row(None, None)


@dataclass(frozen=True)
class ModelCall:
    """One call of the denoising U-Net. height, width: of the latent in this call, which may be a part of the run's."""

    rows: tuple[Row, ...]
    height: int
    width: int
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class PromptList:
    """One of the lists of prompts that a call predicts noise for.

    conditional: None where nothing tells.
    areas: of each of its prompts, by ComfyUI's id of the prompt.
    contexts: the text of each of its prompts as the U-Net attends to it, (1 or images, tokens, 768).
    """

    conditional: bool | None
    areas: Mapping[Any, Area | None]
    contexts: tuple[Tensor, ...]


def prompt_lists(conds: Sequence[Sequence[Options] | None], guider: Any) -> tuple[PromptList, ...]:
    """Return the role, areas and texts of each list of prompts. conds: as guidance nodes pass them on.

    The role cannot be looked up by one prompt's id: for prompts with an area ComfyUI copies a prompt, with its id, into
    the other roles (``create_cond_with_same_area_if_none``), so that only the whole list tells positive from negative.
    """
    own = getattr(guider, "conds", None) or {}
    lists = [
        PromptList(
            _role([prompt.get("uuid") for prompt in prompts or ()], own),
            {prompt.get("uuid"): prompt.get("area") for prompt in prompts or ()},
            tuple(context for prompt in prompts or () if (context := _context(prompt)) is not None),
        )
        for prompts in conds
    ]
    if own and any(one.conditional is None for one in lists):
        known = prompt_lists(list(own.values()), guider)
        lists = [one if one.conditional is not None else _known_by_text(one, known) for one in lists]
    if all(one.conditional is None for one in lists) and (not own or len(lists) == 2):
        # ComfyUI's own functions take the positive prompts first, then the negative ones.
        lists = [replace(one, conditional=index != 1) for index, one in enumerate(lists)]
    return tuple(lists)


def _known_by_text(prompts: PromptList, known: Sequence[PromptList]) -> PromptList:
    """Return a list that another node has made, with the role of the known lists that have the same texts."""
    roles = {role for context in prompts.contexts for role in _roles(context, known)}
    return replace(prompts, conditional=next(iter(roles)) if len(roles) == 1 else None)


def prompt_lists_by_id(options: Options, guider: Any) -> tuple[PromptList, ...]:
    """Return the lists of a call that was made past ``calc_cond_batch``, as far as its prompts' ids identify them."""
    own = prompt_lists(list((getattr(guider, "conds", None) or {}).values()), guider)
    indices, ids = options.get("cond_or_uncond", ()), options.get("uuids", ())
    lists: list[PromptList] = []
    for index in range(max(indices, default=-1) + 1):
        its = {prompt for number, prompt in zip(indices, ids, strict=False) if number == index}
        matching = [one for one in own if its and its <= set(one.areas)]
        roles = {one.conditional for one in matching}
        conditional = next(iter(roles)) if len(roles) == 1 else index != 1
        areas = {prompt: area for one in matching for prompt, area in one.areas.items()}
        lists.append(PromptList(conditional, areas, tuple(context for one in matching for context in one.contexts)))
    return tuple(lists)


def _role(ids: list[Any], own: Mapping[str, Sequence[Options]]) -> bool | None:
    """Return whether a list of prompts with these ids is conditional. own: the guider's lists by role."""
    by_role = {role: [prompt.get("uuid") for prompt in prompts] for role, prompts in own.items()}
    roles = [role for role, its in by_role.items() if its == ids]
    roles = roles or [role for role, its in by_role.items() if ids and set(ids) <= set(its)]
    return "negative" not in roles[0] if roles else None


def _context(prompt: Options) -> Tensor | None:
    context = getattr(prompt.get("model_conds", {}).get("c_crossattn"), "cond", None)
    return context if isinstance(context, Tensor) else None


def call_rows(
    options: Options, lists: Sequence[PromptList], rows: int, context: Tensor | None, batch: int | None
) -> tuple[Row, ...]:
    """Return the role, the image and the area of each row of a call.

    Args:
        options: the call's ``transformer_options``.
        lists: the lists of prompts that the call predicts noise for; empty where they are unknown.
        rows: the number of rows.
        context: the text that each row attends to, (rows, tokens, 768).
        batch: the number of images being sampled; None outside a sampling run, where the number of rows tells it.
    """
    indices = options.get("cond_or_uncond", (0,))
    if batch is None and rows % len(indices) == 0:
        batch = rows // len(indices)
    prompts = _prompts(indices, options.get("uuids"), lists)
    images = _window(options) or range(batch or 0)
    if prompts and rows == len(prompts) * len(images):
        return tuple(Row(conditional, image, area) for conditional, area in prompts for image in images)
    return rows_by_context(context, lists, rows, batch, [conditional for conditional, _ in prompts])


def _prompts(
    indices: Sequence[int], ids: Sequence[Any] | None, lists: Sequence[PromptList]
) -> list[tuple[bool | None, Any]]:
    """Return (is conditional, area) for each prompt of a call; nothing where the options contradict each other."""
    if not lists:
        return [(index != 1, None) for index in indices]
    if any(not 0 <= index < len(lists) for index in indices):
        return []
    known = ids if ids is not None and len(ids) == len(indices) else [None] * len(indices)
    chosen = [(lists[index], prompt) for index, prompt in zip(indices, known, strict=True)]
    return [(one.conditional, one.areas.get(prompt)) for one, prompt in chosen]


def rows_by_context(
    context: Tensor | None,
    lists: Sequence[PromptList],
    rows: int,
    batch: int | None,
    prompts: Sequence[bool | None] = (),
) -> tuple[Row, ...]:
    """Identify each row by the text that it attends to. prompts: of the call, conditional or not, in order.

    Costs one wait for the device, in calls of this kind alone.
    """
    roles: list[bool | None] = [None] * rows
    if context is not None and len(context) == rows:
        roles = _roles(context, lists)
    if prompts and batch and roles == [None] * rows and rows % (len(prompts) * batch) == 0:
        # Both prompts have the same text. Nodes that send such rows send them tile by tile.
        roles = [prompts[row // batch % len(prompts)] for row in range(rows)]
    if batch == 1:
        return tuple(Row(role, 0) for role in roles)
    groups = [roles[i : i + batch] for i in range(0, rows, batch)] if batch and rows % batch == 0 else []
    in_turn = bool(groups) and all(len(set(group)) == 1 for group in groups)  # images in turn within prompt and tile
    return tuple(Row(role, row % batch if in_turn and batch else None) for row, role in enumerate(roles))


def _roles(context: Tensor, lists: Sequence[PromptList]) -> list[bool | None]:
    matches = [
        (one.conditional, same)
        for one in lists
        for known in one.contexts
        if (same := _same(context, known)) is not None
    ]
    if not matches:
        return [None] * len(context)
    same = torch.stack([same for _, same in matches], dim=1).tolist()  # (rows, prompts)
    found = [{matches[i][0] for i, is_same in enumerate(row) if is_same} for row in same]
    return [next(iter(roles)) if len(roles) == 1 else None for roles in found]


def _same(context: Tensor, known: Tensor) -> Tensor | None:
    """Return for each row of ``context`` whether it is ``known``, which ComfyUI repeats beside a longer prompt."""
    if context.shape[1] % known.shape[1] or context.shape[2] != known.shape[2]:
        return None
    known = known.to(context).repeat(1, context.shape[1] // known.shape[1], 1)
    return (context.unsqueeze(1) == known.unsqueeze(0)).flatten(2).all(dim=2).any(dim=1)


def _window(options: Options) -> Sequence[int] | None:
    """Return the image indices of this call if it is a window of an animation, else None."""
    indices = options.get("ad_params", {}).get("sub_idxs")  # AnimateDiff Evolved
    if indices is not None:
        return indices
    window = options.get("context_window")  # ComfyUI's own, led by the earlier image that it may be anchored to
    indices, anchor = getattr(window, "index_list", None), getattr(window, "causal_anchor_index", None)
    return indices if indices is None or anchor is None or anchor < 0 else [anchor, *indices]
