"""ComfyUI's own Train LoRA through a MODEL with a garment: the LoRA learns beside the garment, which stays as it is."""

import importlib
from typing import Any

import pytest
import torch
from support.narrow_unet import narrow_model
from support.sampling import apply_garment


def loaded_anew(disable_dynamic: bool = False) -> Any:
    """Return the narrow MODEL as a loader makes it again for training, outside of inference mode."""
    return narrow_model.__wrapped__()


@pytest.fixture
def trainable(model: Any) -> Any:
    copy = model.clone()
    copy.cached_patcher_init = (loaded_anew, ())
    return copy


def train(model: Any, checkpointing: bool) -> float:
    """Train a LoRA for one step with ComfyUI's node; return the loss."""
    node: Any = importlib.import_module("nodes").NODE_CLASS_MAPPINGS["TrainLoraNode"]
    latent = torch.randn((1, 4, 10, 8), generator=torch.Generator().manual_seed(1))
    prompt = torch.randn((1, 77, 768), generator=torch.Generator().manual_seed(2))
    given = {
        "model": model,
        "latents": {"samples": latent},
        "positive": [[prompt, {}]],
        "steps": 1,
        "rank": 2,
        "optimizer": "SGD",
        "training_dtype": "fp32",
        "lora_dtype": "fp32",
        "seed": 1,
        "gradient_checkpointing": checkpointing,
        "existing_lora": "[None]",
    }
    defaults = {one.id: one.default for one in node.define_schema().inputs if getattr(one, "default", None) is not None}
    values = {name: [value] for name, value in (defaults | given).items()}
    outputs = node.execute(**values).result
    return outputs[1]["loss"][0]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "gradient checkpointing"])
def test_a_lora_is_trained_through_a_model_with_a_garment(trainable: Any, garment: Any, checkpointing: bool):
    before = garment.images[0].layers[0].k.clone()
    with_garment = train(apply_garment(trainable, garment), checkpointing)
    assert torch.isfinite(torch.tensor(with_garment))
    assert with_garment != train(trainable, checkpointing)
    assert torch.equal(garment.images[0].layers[0].k, before)
