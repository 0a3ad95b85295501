"""From the state of a run to the files that the nodes load, with a card that says what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .. import __version__
from ..errors import IMAGDressingError
from ..files.checkpoint import DTYPES, GARMENT_UNET, PROJECTIONS, QFORMER, expected_shapes
from ..files.storage import save_whole, written_whole
from ..files.weights import open_weights
from .state import EMA, PROGRESS

PARTS = (GARMENT_UNET, QFORMER, PROJECTIONS)
# Where accelerate puts the trained weights: on one process or by DDP, by FSDP, by DeepSpeed.
WEIGHTS = ("model.safetensors", "pytorch_model_fsdp.bin", "pytorch_model/mp_rank_00_model_states.pt")


def export(state: Path, target: Path, dtype: str = "fp16", averaged: bool = True) -> list[Path]:
    """Write ``target.safetensors`` in the pack's format, ``target.pt`` in the official one, ``target.md`` about both.

    averaged: take the averaged weights (EMA) where the state has them. dtype: a key of ``DTYPES``.

    Raises:
        IMAGDressingError: the state lacks something or is damaged, or the folder cannot be written or has no room.
    """
    progress = _progress(state)
    is_averaged = averaged and (state / EMA).exists()
    weights = {key: one.to(DTYPES[dtype]).contiguous() for key, one in _weights(state, is_averaged).items()}
    safetensors, pickled, card = (target.with_name(target.name + suffix) for suffix in (".safetensors", ".pt", ".md"))
    save_whole(weights, safetensors, {"imagdressing.source": state.name, "imagdressing.version": __version__})
    room = sum(one.nbytes for one in weights.values())
    # Given a path, PyTorch would name the archive's folder after it.
    with written_whole(pickled, room) as unfinished, unfinished.open("wb") as file:
        torch.save({"module": weights}, file)
    card.write_text(model_card(target.name, weights, progress, dtype, is_averaged), encoding="utf-8")
    return [safetensors, pickled, card]


def model_card(name: str, weights: Mapping[str, Tensor], progress: Mapping[str, Any], dtype: str, ema: bool) -> str:
    """Return what there is to know about exported weights, in Markdown with the hub's front matter."""
    is_sd15 = {key: tuple(one.shape) for key, one in weights.items()} == expected_shapes()
    use = (
        f"Put `{name}.safetensors` into ComfyUI's `models/imagdressing` and choose it in *Load IMAGDressing Model*."
        if is_sd15
        else "These weights have not SD1.5's shapes: the nodes refuse them; `imagdressing_core.on_diffusers.pipeline` runs them."
    )
    trained = sum(one.numel() for one in weights.values())
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
tags: [imagdressing, virtual-dressing, stable-diffusion]
---

# {name}

Garment U-Net, Q-Former and garment projections of IMAGDressing-v1 (arXiv 2407.12705), {trained:,} numbers in {dtype},
after {progress["step"]:,} steps of {progress["share"]} samples: {"averaged (EMA)" if ema else "the last"} weights.

{use} `{name}.pt` holds the same in the official layout.

The licences of the base model, of the pictures and of whatever the training started from apply to these weights.

## Configuration

```json
{json.dumps(progress["config"], indent=2)}
```
"""


def _progress(state: Path) -> dict[str, Any]:
    try:
        return json.loads((state / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IMAGDressingError(f"{state} is not the whole state of a run: {error}") from error


def _weights(state: Path, averaged: bool) -> dict[str, Tensor]:
    """Return the trained parts under their official keys."""
    try:
        if averaged:
            return load_file(state / EMA)
        path = next((state / name for name in WEIGHTS if (state / name).exists()), None)
        if path is None:
            raise IMAGDressingError(f"{state} has none of {', '.join(WEIGHTS)}: merge sharded weights first.")
        _, found = open_weights(path)
        return {key: one for key, one in found.items() if key.startswith(PARTS)}
    except (OSError, SafetensorError) as error:
        raise IMAGDressingError(f"The weights in {state} cannot be read: {error}") from error
