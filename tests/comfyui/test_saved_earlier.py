"""A garment file saved before the code got its present names loads, and acts in a full-sized model.

``tests/reference/saved_earlier/garment.safetensors`` was written by the Save Garment node of commit bb516ee: a garment
of 64 × 64 pixels in fp16, its numbers random. It is never written anew.
"""

from typing import Any

import folder_paths
import pytest
import torch
from safetensors.torch import load_file
from support import comfyui_process as comfyui
from support import parity
from support.plain_reference import garment_by_hooks

pytestmark = pytest.mark.full_size

SAVED = parity.REFERENCE / "saved_earlier"
LAYERS = comfyui.pack("imagdressing_core.model.layers").LAYERS


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The garment as Load Garment gives it."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "imagdressing_garments", ([str(SAVED)], {".safetensors"}))
    return comfyui.call("IMAGDressingLoadGarment", garment_name="garment.safetensors")


def test_it_loads_bit_for_bit_with_its_origin(saved: Any):
    written = load_file(SAVED / "garment.safetensors")
    (image,) = saved.images
    for layer in LAYERS:
        loaded = image.layers[layer.index]
        assert torch.equal(loaded.k, written[f"0.k.{layer.index}"])
        assert torch.equal(loaded.v, written[f"0.v.{layer.index}"])
    assert torch.equal(image.thumbnail, written["0.thumbnail"])
    origin = image.origin
    assert (origin.checkpoint, origin.fit) == ("IMAGDressing-v1_512.pt", "official")
    assert (origin.width, origin.height) == (64, 64)
    assert origin.fingerprint == "0123456789abcdef" * 4


def test_it_acts_as_equation_5_says(saved: Any):
    model, prompt = parity.dressing_model(), parity.vectors()["input.prompt"]
    with garment_by_hooks(model, saved, 1.0, [prompt]):
        reference = parity.noise_prediction(model, 501)
    assert parity.relative_error(reference, parity.noise_prediction(model, 501)) > 0.01
    assert parity.relative_error(parity.noise_prediction(parity.with_garment(saved, 1.0), 501), reference) <= 1e-4
