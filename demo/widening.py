"""The official state dict that computes what a narrow network does: its weights in their places, zeros elsewhere."""

from collections.abc import Mapping, Sequence

import numpy
import torch
from torch import Tensor

from .narrow import HEADS, NARROW, WIDE, WIDE_HEADS, Run, is_idle, positions, skip_runs

Weights = dict[str, Tensor]


def widened(narrow: Mapping[str, Tensor], wide_shapes: Mapping[str, Sequence[int]], dtype: torch.dtype) -> Weights:
    """Return the official state dict (diffusers' keys) that computes what a narrow network does.

    Also of garment projections, whose keys are those of ``GarmentProjections`` with a layer's index.
    """
    skips = skip_runs() if any(key.startswith("up_blocks.0.resnets") for key in narrow) else {}
    wide = zeros(wide_shapes, dtype)
    for key, weight in narrow.items():
        if is_idle(key):
            continue
        target = wide[key]
        rows, columns = _places(key.rpartition(".")[0], weight, target, skips)
        if ".to_q" in key:
            weight = weight * _head_sizes(len(weight), len(target)) ** 0.5
        block = target[rows]
        if weight.ndim > 1:
            block[:, columns] = weight.to(dtype)
        else:
            block[:] = weight.to(dtype)
        target[rows] = block
    return wide


def zeros(shapes: Mapping[str, Sequence[int]], dtype: torch.dtype) -> Weights:
    """Return zeros that take no memory until they are written to: NumPy's, which unlike PyTorch's are not filled."""
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    return {key: torch.from_numpy(numpy.zeros(tuple(shape), kind)) for key, shape in shapes.items()}


def _places(
    module: str, weight: Tensor, target: Tensor, skips: Mapping[str, Sequence[Run]]
) -> tuple[list[int], list[int]]:
    """Return which rows and columns of the wide weight are the narrow one's."""
    resnet, _, leaf = module.rpartition(".")
    rows = list(range(len(weight)))
    columns = list(range(weight.shape[1])) if weight.ndim > 1 else []
    if leaf == "norm1" and resnet in skips:
        rows = positions(skips[resnet])
    elif leaf in ("conv1", "conv_shortcut") and resnet in skips and weight.ndim > 1:
        columns = positions(skips[resnet])
    elif leaf in ("to_q", "to_k", "to_v", "to_k_ref", "to_v_ref"):
        rows = _in_heads(len(weight), len(target))
    elif module.endswith("to_out.0") and weight.ndim > 1:
        columns = _in_heads(weight.shape[1], target.shape[1])
    elif module.endswith("ff.net.0.proj"):  # GEGLU: values, then gates
        half = len(weight) // 2
        rows = [*range(half), *range(len(target) // 2, len(target) // 2 + half)]
    return rows, columns


def _in_heads(used: int, wide: int) -> list[int]:
    """Return where the channels of narrow heads lie among the wide ones: each head's first."""
    head, wide_head = used // _heads(used, wide), wide // WIDE_HEADS
    return [i // head * wide_head + i % head for i in range(used)]


def _heads(used: int, wide: int) -> int:
    return next(h for n, w, h in zip(NARROW, WIDE, HEADS, strict=True) if (n, w) == (used, wide))


def _head_sizes(used: int, wide: int) -> float:
    """Return how many times larger the wide heads are."""
    return wide / WIDE_HEADS / (used / _heads(used, wide))


def ldm_name(key: str) -> str:
    """Return the single-file format's name for a tensor of SD1.5's U-Net that diffusers calls ``key``.

    Source: Stability AI's openaimodel.py and diffusers' UNet2DConditionModel, which number the same blocks apart.
    """
    parts = key.split(".")
    if parts[0] in LDM_ENDS or ".".join(parts[:2]) in LDM_ENDS:
        whole = parts[0] if parts[0] in LDM_ENDS else ".".join(parts[:2])
        return f"{LDM_ENDS[whole]}.{parts[-1]}"
    if parts[0] == "mid_block":
        number = 1 if parts[1] == "attentions" else 2 * int(parts[2])
        return ".".join(["middle_block", str(number), *_ldm_inner(parts[1], parts[3:])])
    level, kind, number = int(parts[1]), parts[2], int(parts[3])
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{parts[-1]}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.conv.{parts[-1]}"
    block = (
        f"input_blocks.{3 * level + number + 1}" if parts[0] == "down_blocks" else f"output_blocks.{3 * level + number}"
    )
    return ".".join([block, "0" if kind == "resnets" else "1", *_ldm_inner(kind, parts[4:])])


LDM_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
LDM_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _ldm_inner(kind: str, parts: list[str]) -> list[str]:
    return [LDM_RESNET[parts[0]], *parts[1:]] if kind == "resnets" else parts
