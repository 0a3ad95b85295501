"""What fails half-way leaves nothing half-done: the next run gives, bit for bit, what it gave before."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import parity
from support.encoding import encode
from support.faults import allocation_sites, fails_at, interrupt, out_of_memory
from support.narrow_unet import narrow_model
from support.sampling import apply_garment, apply_garment_advanced, predict, random, sample

from imagdressing_core.files import official_files

ERRORS = pytest.mark.parametrize("error", [out_of_memory, interrupt], ids=["out of memory", "interrupted"])


def same_garment(ours: Any, theirs: Any) -> bool:
    return all(
        torch.equal(tensor, theirs.images[0].layers[index].tensors[name])
        for index, layer in ours.images[0].layers.items()
        for name, tensor in layer.tensors.items()
    )


def fail_everywhere(
    action: Callable[[], object], error: Callable[[], BaseException], unchanged: Callable[[], bool]
) -> None:
    """Let ``action`` fail at the first allocation of every line that is ours, by it or below it; look in between."""
    first: dict[str, int] = {}
    for (pack, _), allocation in allocation_sites(action).items():
        first.setdefault(pack, allocation)
    allocations = sorted(allocation for pack, allocation in first.items() if pack)
    assert len(allocations) >= 5
    ended = 0
    for i, allocation in enumerate(allocations):
        ended += fails_at(action, allocation, error())  # ComfyUI does without some: it goes over to smaller pieces
        assert i % 10 or unchanged()
    assert ended > len(allocations) / 2
    assert unchanged()


@ERRORS
def test_sampling_that_fails_at_any_allocation_leaves_the_model_as_it_was(
    model: Any, garment: Any, other_garment: Any, error: Callable[[], BaseException]
):
    mask = torch.zeros(1, 40, 32)
    mask[:, :20] = 1
    with_garment = apply_garment(
        apply_garment_advanced(model, other_garment, layers="texture", schedule="ease in"), garment, mask=mask
    )
    bare, worn = sample(model, steps=1), sample(with_garment, steps=1)

    def unchanged() -> bool:
        assert "imagdressing" not in with_garment.model_options["transformer_options"]
        return torch.equal(sample(with_garment, steps=1), worn)

    fail_everywhere(lambda: sample(with_garment, steps=1), error, unchanged)
    assert torch.equal(sample(model, steps=1), bare)


@ERRORS
def test_encoding_that_fails_at_any_allocation_leaves_the_encoder_as_it_was(
    encoder: Any, error: Callable[[], BaseException]
):
    latent, clip_hidden = random(1, 4, 10, 8), random(1, 257, 1280, seed=1)
    garment = comfyui.pack("imagdressing_core.model.garment").Garment

    def read() -> Any:
        return garment(encoder.encode(latent, clip_hidden))

    before = read()
    fail_everywhere(read, error, lambda: same_garment(read(), before))


@ERRORS
def test_reading_an_image_that_fails_at_any_allocation_is_read_the_same_again(
    encoder: Any, error: Callable[[], BaseException]
):
    def read() -> Any:
        return encode(encoder, fit="pad", mask=torch.ones(1, 80, 64))

    before = read()
    sites = allocation_sites(read)
    ours = [sites[site] for site in sites if site[0].partition(":")[0] in ("preprocess.py", "encode.py", "garment.py")]
    assert len(ours) >= 5
    for allocation in ours[:: max(1, len(ours) // 6)]:
        fails_at(read, allocation, error())  # ComfyUI may do without: its VAE goes over to tiles
    assert same_garment(read(), before)


@ERRORS
def test_loading_that_fails_at_any_allocation_loads_the_next_time(
    official_garment: Any, error: Callable[[], BaseException]
):
    def load() -> Any:
        return comfyui.call("IMAGDressingModelLoader", model_name=official_files.GARMENT.name)

    first: dict[str, int] = {}  # of each line of ours, for loading takes long
    for (pack, _), allocation in allocation_sites(load).items():
        first.setdefault(pack, allocation)
    assert len(first) >= 5
    for allocation in first.values():
        assert fails_at(load, allocation, error())
        gc.collect()  # what an error's frames hold: a model each time
    again = load()
    vectors = parity.vectors()
    images = again.encode(vectors["input.garment_latent"] / 0.18215, vectors["input.clip_hidden"])
    assert same_garment(comfyui.pack("imagdressing_core.model.garment").Garment(images), official_garment)


def test_a_loaded_checkpoint_needs_its_file_no_more():
    """What is still mapped would kill ComfyUI where the file is cut short, and change where it is written over."""
    encoder = parity.garment_encoder()
    mapped = Path("/proc/self/maps").read_text()
    assert "python" in mapped
    assert official_files.GARMENT.name not in mapped
    del encoder


def test_a_loaded_garment_needs_its_file_no_more(official_garment: Any, tmp_path: Path):
    wardrobe = comfyui.pack("imagdressing_core.files.garment_file")
    path = tmp_path / "garment.safetensors"
    wardrobe.save_garment(official_garment, path)
    loaded = wardrobe.load_garment(path)
    path.write_bytes(b"")
    assert same_garment(loaded, official_garment)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("joint", [False, True], ids=["hybrid", "concatenated"])
def test_extreme_attention_stays_finite_where_plain_attention_does(dtype: torch.dtype, joint: bool):
    from comfy.ldm.modules.attention import optimized_attention

    hybrid = comfyui.pack("imagdressing_core.model.hybrid_attention").hybrid_attention
    concatenated = comfyui.pack("imagdressing_core.model.magic_clothing").concatenated_attention
    layer_kv = comfyui.pack("imagdressing_core.model.garment").LayerKV
    q, k, v, garment_k, garment_v = (random(1, 80, 320, seed=i).to(dtype) for i in range(5))
    q, k, garment_k = 60 * q, 60 * k, 150 * garment_k  # logits of tens of thousands, where fp16 ends
    v, garment_v = 3000 * v, 3000 * garment_v

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return optimized_attention(q, k, v, 8)

    plain = attend(q, k, v)
    assert torch.isfinite(plain).all()
    if joint:
        with_garment = concatenated(plain, q, k, v, garment_k, garment_v, 1.0, attend)
    else:
        with_garment = hybrid(plain, q, layer_kv(garment_k, garment_v), 1.0, attend)
    assert torch.isfinite(with_garment).all()
    assert not torch.equal(with_garment, plain)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6, -1e30])
def test_a_garment_that_would_blacken_an_image_in_fp16_is_found_when_it_is_read(value: float):
    garments = comfyui.pack("imagdressing_core.model.garment")
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS
    part = {layer.index: torch.zeros(1, 4, layer.channels) for layer in layers}
    part[30] = torch.full((1, 4, 1280), value)
    with pytest.raises(
        ValueError, match="Encoding the garment gave NaN, infinite values or larger ones than fp16 holds"
    ):
        garments.images_of_batch(
            {index: garments.LayerKV(one, one) for index, one in part.items()}, garments.Origin("a", "b", "pad", 16, 16)
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_prediction_in_half_precision_stays_finite_at_full_strength(garment: Any, dtype: torch.dtype):
    half = narrow_model(dtype)
    prediction = predict(apply_garment(half, garment, strength=5.0), random(1, 4, 10, 8))
    assert torch.isfinite(prediction).all()
    assert not torch.equal(prediction, predict(half, random(1, 4, 10, 8)))
