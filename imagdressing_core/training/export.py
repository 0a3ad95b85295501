"""From the state of a run to the files that the nodes load, with a model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .. import __version__
from ..command_line import made_by
from ..errors import IMAGDressingError
from ..files.checkpoint import DTYPES, GARMENT_UNET, PROJECTIONS, QFORMER, expected_shapes
from ..files.storage import save_whole, written_whole
from ..files.weights import open_weights
from .model import merge_lora
from .state import EMA, read_progress

PREFIXES = (GARMENT_UNET, QFORMER, PROJECTIONS)
# Where accelerate puts the trained weights: on one process or by DDP, by FSDP, by DeepSpeed.
WEIGHTS = ("model.safetensors", "pytorch_model_fsdp.bin", "pytorch_model/mp_rank_00_model_states.pt")


def export(state: Path, target: Path, dtype: str = "fp16", averaged: bool = True) -> list[Path]:
    """Write ``target.safetensors`` in the pack's format, ``target.pt`` in the official one, and ``target.md``, a card.

    Args:
        state: The folder of a state.
        target: The files to write, without their suffixes.
        dtype: A key of ``DTYPES``.
        averaged: Take the averaged weights (EMA) where the state has them.

    Raises:
        IMAGDressingError: The state lacks something or is damaged, or the folder cannot be written or has no room.
    """
    progress = read_progress(state)
    is_averaged = averaged and (state / EMA).exists()
    weights = {key: one.to(DTYPES[dtype]).contiguous() for key, one in _weights(state, is_averaged).items()}
    safetensors, pickled, card = (target.with_name(target.name + suffix) for suffix in (".safetensors", ".pt", ".md"))
    made = {"exported": made_by(), "trained": {key: progress.get(key) for key in ("version", "command", "weights")}}
    metadata = {"source": state.name, "version": __version__, "made": json.dumps(made)}
    save_whole(weights, safetensors, {f"imagdressing.{key}": value for key, value in metadata.items()})
    room = sum(one.nbytes for one in weights.values())
    # Given a path, PyTorch would name the archive's folder after it.
    with written_whole(pickled, room) as unfinished, unfinished.open("wb") as file:
        torch.save({"module": weights}, file)
    card.write_text(model_card(target.name, weights, progress, dtype, is_averaged), encoding="utf-8")
    return [safetensors, pickled, card]


def model_card(name: str, weights: Mapping[str, Tensor], progress: Mapping[str, Any], dtype: str, ema: bool) -> str:
    """Return a model card in Markdown, with the front matter of the Hugging Face hub."""
    is_sd15 = {key: tuple(one.shape) for key, one in weights.items()} == expected_shapes()
    use = (
        f"Put `{name}.safetensors` into ComfyUI's `models/imagdressing` and choose it in *Load IMAGDressing Model*."
        if is_sd15
        else "The base model is not as wide as SD1.5, so ComfyUI's nodes reject these weights. Use `load_pipeline` of "
        f"`imagdressing_core.on_diffusers.pipeline` with the same base model and `{name}.safetensors`."
    )
    count = sum(one.numel() for one in weights.values())
    changes = ""
    for entry in progress.get("history", []):
        changed = "; ".join(f"{name} was {before} and became {now}" for name, (before, now) in entry["changed"].items())
        changes += f"\n- at step {entry['step']:,}: {changed}"
    return f"""---
pipeline_tag: text-to-image
tags: [imagdressing, virtual-dressing, stable-diffusion]
---

# {name}

Garment U-Net, Q-Former and garment projections of IMAGDressing-v1 (arXiv 2407.12705), {count:,} numbers in {dtype},
after {progress["step"]:,} steps of {progress["share"]} samples: {"averaged (EMA)" if ema else "the last"} weights.

{use} `{name}.pt` holds the same in the official layout.

The licences of the base model, of the training images and of the initial weights apply to these weights.

## Training

ComfyUI-IMAGDressing {progress.get("version", "")}, saved {progress.get("date", "at an unknown date")}:

```
{progress.get("command", "")}
```

The configuration of the last step:{changes or " the same from the first step on."}

```json
{json.dumps(progress["config"], indent=2)}
```

Sha256 of the weights that the training started from and ran with, and of the data's captions and file names:

```json
{json.dumps({key: progress.get(key, {}) for key in ("weights", "pairs")}, indent=2)}
```
"""


def _weights(state: Path, averaged: bool) -> dict[str, Tensor]:
    """Return the trained parts under their official keys."""
    try:
        if averaged:
            return merge_lora(load_file(state / EMA))
        path = next((state / name for name in WEIGHTS if (state / name).exists()), None)
        if path is None:
            raise IMAGDressingError(f"{state} has none of {', '.join(WEIGHTS)}: merge sharded weights first.")
        _, found = open_weights(path)
        return merge_lora({key: one for key, one in found.items() if key.startswith(PREFIXES)})
    except (OSError, SafetensorError) as error:
        raise IMAGDressingError(f"The weights in {state} cannot be read: {error}") from error
