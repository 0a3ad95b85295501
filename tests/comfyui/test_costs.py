"""What a garment costs is done once: read once, moved once a run, fitted once a situation, and let go afterwards."""

import gc
from collections import Counter
from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
import torch
from support import comfyui_process as comfyui
from support.narrow_unet import CHANNELS
from support.sampling import apply_garment, apply_garment_advanced, sample

STEPS = 3
LAYERS = 16


def count(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Have every call of a method noted, by its first argument after self."""
    calls: list[Any] = []
    original = getattr(owner, name)

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(args[0] if args else None)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, counting)
    return calls


def test_keys_and_values_move_to_the_device_once_a_run(monkeypatch: pytest.MonkeyPatch, model: Any, garment: Any):
    moves = count(monkeypatch, comfyui.pack("imagdressing_core.model.garment").GarmentImage, "to")
    sample(apply_garment(model, garment), steps=STEPS)
    assert len(moves) == 1


@pytest.mark.parametrize("inputs", [{}, {"schedule": "ease in"}, {"end_percent": 0.9}], ids=str)
def test_patches_are_built_once_and_not_at_every_step(
    monkeypatch: pytest.MonkeyPatch, model: Any, garment: Any, inputs: dict[str, Any]
):
    built = count(monkeypatch, comfyui.pack("nodes.comfyui.attention_patches").AttentionPatches, "_replacement")
    sample(apply_garment_advanced(model, garment, **inputs), steps=STEPS)
    assert len(built) == LAYERS


@pytest.mark.parametrize("schedule", ["constant", "ease in"])
def test_a_mask_is_brought_to_each_grid_once_and_not_at_every_step(
    monkeypatch: pytest.MonkeyPatch, model: Any, garment: Any, schedule: str
):
    module = comfyui.pack("imagdressing_core.model.mask")
    brought: list[Any] = []
    original = module.mask_tokens
    monkeypatch.setattr(module, "mask_tokens", lambda *args: brought.append(args[1:]) or original(*args))
    masked = apply_garment_advanced(model, garment, mask=torch.rand(1, 80, 64), schedule=schedule)
    sample(masked, steps=STEPS)
    assert sorted(brought) == [(2, 1), (3, 2), (5, 4), (10, 8)]


def test_sampling_never_runs_the_garment_unet(model: Any, encoder: Any, garment: Any):
    ran: list[int] = []
    hook = encoder.garment_unet.model.diffusion_model.register_forward_pre_hook(lambda *_: ran.append(1))
    for seed in range(2):
        sample(apply_garment(model, garment), seed=seed)
    hook.remove()
    assert not ran


def test_the_garment_is_attended_to_by_the_conditional_rows_alone(
    monkeypatch: pytest.MonkeyPatch, model: Any, garment: Any, other_garment: Any
):
    queries: Counter[int] = Counter()
    original = attention.optimized_attention

    def counting(q: Any, k: Any, *args: Any, **kwargs: Any) -> Any:
        queries[k.shape[1]] += q.shape[0] * q.shape[1]
        return original(q, k, *args, **kwargs)

    monkeypatch.setattr(attention, "optimized_attention", counting)
    tokens, garment_tokens = 10 * 8, 12 * 8  # of the finest layers; no other layer has as many
    sample(apply_garment(model, other_garment), steps=1)
    assert queries[tokens] == 2 * queries[garment_tokens] > 0


def test_nothing_of_a_run_stays_in_memory(model: Any, garment: Any):
    with_garment = apply_garment(model, garment, mask=torch.rand(1, 80, 64))
    sample(with_garment)  # what ComfyUI keeps of a first run, it keeps
    before = _bytes_of_tensors()
    sample(with_garment, steps=STEPS)
    assert _bytes_of_tensors() <= before  # less, where something of an earlier test was let go meanwhile


def test_a_garment_is_nothing_but_its_keys_and_values(garment: Any):
    (image,) = garment.images
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS
    computed = sum(2 * _tokens(layer, 10, 8) * CHANNELS for layer in layers)
    assert image.nbytes == garment.nbytes == computed * image.layers[0].k.element_size()
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(image)}
    assert sum(held.values()) == image.nbytes


def test_an_official_garment_is_58_megabytes_in_fp16():
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS
    assert sum(2 * 2 * _tokens(layer, 80, 64) * layer.channels for layer in layers) == 57_753_600


def _tokens(layer: Any, height: int, width: int) -> int:
    rows, columns = layer.grid(height, width)
    return rows * columns


def _tensors(image: Any) -> list[torch.Tensor]:
    return [tensor for layer in image.layers.values() for tensor in layer.tensors.values()]


def _bytes_of_tensors() -> int:
    gc.collect()
    # A compiler of an earlier test keeps tensors that have no memory, and are of a type of its own.
    return sum(thing.nbytes for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter))
