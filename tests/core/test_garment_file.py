"""Saved garments: what comes back is what was saved, and nothing else is taken for one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.garment_file import load_garment, save_garment
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS
from imagdressing_core.model.magic_clothing import LayerFeatures

ORIGIN = Origin("IMAGDressing-v1_512.pt", "0" * 64, "official", 16, 24)

Tensors = dict[str, torch.Tensor]
Metadata = dict[str, str]


def image(seed: int, tokens: int = 6, dtype: torch.dtype = torch.float16) -> GarmentImage:
    generator = torch.Generator().manual_seed(seed)

    def random(channels: int) -> torch.Tensor:
        return torch.randn(1, tokens, channels, generator=generator).to(dtype)

    layers = {layer.index: LayerKV(random(layer.channels), random(layer.channels)) for layer in LAYERS}
    return GarmentImage(layers, ORIGIN, torch.full((4, 3, 3), seed, dtype=torch.uint8))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "garment.safetensors"
    save_garment(Garment((image(1),)), path)
    return path


def rewrite(path: Path, change: Callable[[Tensors, Metadata], object]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    change(tensors, metadata)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_garment_comes_back_bit_for_bit_with_its_origin(tmp_path: Path, dtype: torch.dtype):
    saved = Garment((image(1, dtype=dtype), replace(image(2, tokens=4, dtype=dtype), thumbnail=None)))
    save_garment(saved, tmp_path / "two.safetensors")
    loaded = load_garment(tmp_path / "two.safetensors")
    assert [one.origin for one in loaded.images] == [ORIGIN, ORIGIN]
    for ours, theirs in zip(loaded.images, saved.images, strict=True):
        for layer in LAYERS:
            found, expected = ours.layers[layer.index].tensors, theirs.layers[layer.index].tensors
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(loaded.images[0].thumbnail, saved.images[0].thumbnail)  # pyright: ignore[reportArgumentType]
    assert loaded.images[1].thumbnail is None


def test_a_garment_for_concatenated_attention_comes_back_as_one(tmp_path: Path):
    features = {layer.index: LayerFeatures(torch.randn(1, 6, layer.channels).half()) for layer in LAYERS}
    save_garment(Garment((replace(image(1), layers=features),)), tmp_path / "features.safetensors")
    (loaded,) = load_garment(tmp_path / "features.safetensors").images
    assert loaded.kind is LayerFeatures
    for index, expected in features.items():
        assert torch.equal(loaded.layers[index].tensors["c"], expected.c)


def test_images_that_are_views_of_one_batch_can_be_saved(tmp_path: Path):
    one = image(1)
    k = {index: layer.tensors["k"] for index, layer in one.layers.items()}
    views = replace(one, layers={index: LayerKV(tensor, tensor) for index, tensor in k.items()})
    save_garment(Garment((views,)), tmp_path / "views.safetensors")
    assert torch.equal(load_garment(tmp_path / "views.safetensors").images[0].layers[0].tensors["v"], k[0])


DAMAGE: dict[str, Callable[[Tensors, Metadata], object]] = {
    "1 tensors are missing (first: 0.k.0)": lambda tensors, _: tensors.pop("0.k.0"),
    "1 tensors are not part of a garment (first: surplus)": lambda tensors, _: tensors.update(surplus=torch.zeros(1)),
    "0.k.0 is (1, 6, 321), expected (1, tokens, 320)": lambda t, _: t.update({"0.k.0": torch.zeros(1, 6, 321)}),
    "0.v.0 is (1, 5, 320), expected (1, tokens, 320)": lambda t, _: t.update({"0.v.0": torch.zeros(1, 5, 320)}),
    "0.k.0 is (), expected": lambda tensors, _: tensors.update({"0.k.0": torch.tensor(1.0)}),
    "0.k.0 is (1, 0, 320), expected": lambda tensors, _: tensors.update({"0.k.0": torch.zeros(1, 0, 320)}),
    "0.v.30 is torch.int32": lambda t, _: t.update({"0.v.30": torch.zeros(1, 6, 1280, dtype=torch.int32)}),
    "0.k.30 holds NaN": lambda tensors, _: tensors["0.k.30"].fill_(float("nan")),
    "is no saved garment": lambda _, metadata: metadata.pop("imagdressing.garment"),
    "is a garment of format 2, saved by version 9.9": lambda _, metadata: metadata.update(
        {"imagdressing.garment": "2", "imagdressing.version": "9.9"}
    ),
    "its header is damaged": lambda _, metadata: metadata.update({"imagdressing.origins": "[{]"}),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_file_that_holds_what_no_garment_has_is_refused(path: Path, message: str):
    rewrite(path, DAMAGE[message])
    with pytest.raises(IMAGDressingError) as refusal:
        load_garment(path)
    assert message in str(refusal.value)
    assert path.name in str(refusal.value)


@pytest.mark.parametrize("origins", ["[]", "{}", "7", "null", '[{"width": 3}]', "[" * 5000, '[{"checkpoint": 1}]'])
def test_origins_that_are_none_are_refused(path: Path, origins: str):
    rewrite(path, lambda _, metadata: metadata.update({"imagdressing.origins": origins}))
    with pytest.raises(IMAGDressingError, match="its header is damaged"):
        load_garment(path)


def test_an_origin_with_a_string_for_its_width_is_refused(path: Path):
    wrong = json.dumps([{**ORIGIN.__dict__, "width": "512"}])
    rewrite(path, lambda _, metadata: metadata.update({"imagdressing.origins": wrong}))
    with pytest.raises(IMAGDressingError, match="its header is damaged"):
        load_garment(path)


@pytest.mark.parametrize("length", [0, 7, 100, 20_000])
def test_a_truncated_file_is_refused(path: Path, length: int):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(IMAGDressingError, match="Save the garment again with Save Garment"):
        load_garment(path)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(IMAGDressingError, match="does not exist"):
        load_garment(tmp_path / "none.safetensors")


def test_a_failing_save_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch):

    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(IMAGDressingError, match="No space left"):
        save_garment(Garment((image(2),)), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
