"""Checkpoint files: every published layout is read, everything else is rejected with a message."""

import os
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.bad_checkpoints import unsaid

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files import safetensors_file, storage
from imagdressing_core.files.checkpoint import (
    PROJECTIONS,
    convert_checkpoint,
    expected_shapes,
    read_checkpoint,
)
from imagdressing_core.files.sd15_shapes import unet_shapes

Weights = dict[str, Any]


def frozen_unet() -> Weights:
    return {f"unet.{key}": torch.zeros(1).half().expand(shape) for key, shape in unet_shapes().items()}


LAYOUTS: dict[str, tuple[str, Callable[[Weights], object]]] = {
    "plain": ("official", lambda w: {"module": OrderedDict(w)}),
    "with the frozen U-Net": ("official", lambda w: {"module": w | frozen_unet()}),
    "raw DeepSpeed": (
        "DeepSpeed state",
        lambda w: {
            "module": OrderedDict(w | frozen_unet()),
            "buffer_names": [],
            "optimizer": None,
            "param_shapes": [OrderedDict((key, tensor.shape) for key, tensor in w.items())],
            "frozen_param_shapes": None,
            "frozen_param_fragments": frozen_unet(),
            "global_steps": 200_000,
            "ds_config": {"zero_optimization": {"stage": 2}},
            "epoch": 3,
        },
    ),
    "bare": ("flat", lambda w: w),
    "flattened by a converter": ("flat", lambda w: {f"module.{key}": tensor for key, tensor in w.items()}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_is_read(tmp_path: Path, weights: Weights, layout: str):
    variant, wrap = LAYOUTS[layout]
    path = tmp_path / "IMAGDressing-v1_512.pt"
    torch.save(wrap(weights), path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.variant == variant
    assert checkpoint.dtype == torch.float16
    assert checkpoint.tensors.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in checkpoint.tensors.items())


def test_files_in_the_format_before_zip_are_read(tmp_path: Path, weights: Weights):
    path = tmp_path / "old.pt"
    torch.save({"module": weights}, path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path).tensors.keys() == weights.keys()


def test_reading_reports_every_byte(tmp_path: Path, weights: Weights):
    torch.save({"module": weights}, tmp_path / "a.pt")
    calls: list[tuple[int, int]] = []
    checkpoint = read_checkpoint(tmp_path / "a.pt", lambda done, total: calls.append((done, total)))
    assert calls[-1] == (checkpoint.nbytes, checkpoint.nbytes)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_the_fingerprint_tells_trainings_apart_and_not_layouts(tmp_path: Path, weights: Weights):
    torch.save({"module": weights}, tmp_path / "one.pt")
    torch.save(weights, tmp_path / "two.pt")
    key = f"{PROJECTIONS}0.to_k_ref.weight"
    torch.save(weights | {key: weights[key] + 1}, tmp_path / "three.pt")
    one, two, three = (read_checkpoint(tmp_path / f"{name}.pt").fingerprint for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_converting_keeps_what_is_used_and_reads_as_the_same(
    tmp_path: Path, weights: Weights, dtype: str, monkeypatch: pytest.MonkeyPatch
):
    # In full shapes the file takes gigabytes; what is written is looked at, not the disk.
    written: dict[str, Any] = {}
    monkeypatch.setattr(
        "safetensors.torch.save_file", lambda tensors, path, metadata: (written.update(tensors), path.touch())
    )
    torch.save({"module": weights | frozen_unet()}, tmp_path / "IMAGDressing-v1_512.pt")
    conversion = convert_checkpoint(tmp_path / "IMAGDressing-v1_512.pt", tmp_path / "out", dtype)
    assert conversion.path == tmp_path / "out" / f"IMAGDressing-v1_512_{dtype}.safetensors"
    assert conversion.path.is_file()
    assert written.keys() == weights.keys()
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    assert all(torch.equal(tensor, weights[key].to(kind)) for key, tensor in written.items())
    sizes = {"fp16": 1.83, "bf16": 1.83, "fp32": 3.66}
    assert sum(tensor.nbytes for tensor in written.values()) / 1e9 == pytest.approx(sizes[dtype], abs=0.01)


def test_a_conversion_that_fails_leaves_what_was_there(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: object, path: Path, __: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    torch.save(weights, tmp_path / "a.pt")
    target = tmp_path / "a_fp16.safetensors"
    target.write_bytes(b"the old file")
    with pytest.raises(IMAGDressingError, match="No space left on device"):
        convert_checkpoint(tmp_path / "a.pt", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "a_fp16.safetensors"]
    assert target.read_bytes() == b"the old file"


def test_too_little_room_is_said_before_anything_is_written(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(IMAGDressingError, match=r"1\.83 GB needed, 0\.10 GB free"):
        convert_checkpoint(tmp_path / "a.pt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_out_of_memory_is_not_called_a_damaged_file(tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch):
    def no_room(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    torch.save(weights, tmp_path / "a.pt")
    monkeypatch.setattr(torch, "load", no_room)
    with pytest.raises(torch.OutOfMemoryError):
        read_checkpoint(tmp_path / "a.pt")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(safetensors_file, "safe_open", no_room)
    with pytest.raises(torch.OutOfMemoryError):
        read_checkpoint(tmp_path / "a.safetensors")


class _Code:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth"])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path, suffix: str, protocol: int):
    path = tmp_path / f"code{suffix}"
    path.write_bytes(pickle.dumps({"module": _Code(tmp_path / "executed")}, protocol))
    assert "was refused: loading it would run code" in unsaid(path)
    assert not (tmp_path / "executed").exists()


def test_code_in_a_file_of_torch_is_refused_and_never_run(tmp_path: Path):
    path = tmp_path / "code.pt"
    torch.save({"module": {"ref_unet.x": torch.zeros(1)}, "extra": _Code(tmp_path / "executed")}, path)
    assert "was refused: loading it would run code (posix.system)" in unsaid(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x80\x02}q\x00", "damaged, incomplete"),
        (b"PK\x03\x04" + bytes(100), "damaged, incomplete"),
        (random.Random(0).randbytes(1000), "damaged, incomplete"),
    ],
    ids=["empty", "LFS pointer", "web page", "cut pickle", "cut zip", "noise"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_checkpoint_file_is_called_what_it_is(tmp_path: Path, suffix: str, content: bytes, message: str):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert message in unsaid(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path):
    assert "does not exist" in unsaid(tmp_path / "a.pt")


FOREIGN = {
    "an IP-Adapter": ["image_proj.latents", "ip_adapter.1.to_k_ip.weight"],
    "a LoRA": ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"],
    "a ControlNet": ["controlnet_cond_embedding.conv_in.weight", "conv_in.weight"],
    "an SDXL checkpoint": ["conditioner.embedders.0.transformer.x", "model.diffusion_model.x"],
    "a Stable Diffusion checkpoint": ["model.diffusion_model.input_blocks.0.0.weight"],
    "a CLIP vision model": ["vision_model.post_layernorm.weight"],
    "a VAE": ["decoder.mid.attn_1.k.weight"],
    "MagicClothing's projections": ["0.to_k_ip.weight"],
}


@pytest.mark.parametrize("what", FOREIGN)
def test_another_kind_of_file_is_named_with_its_folder(tmp_path: Path, what: str):
    path = tmp_path / "a.safetensors"
    save_file({key: torch.zeros(2) for key in FOREIGN[what]}, path)
    message = unsaid(path)
    assert f"is {what}" in message
    assert "belongs in models/" in message


def test_nested_foreign_files_are_named_too(tmp_path: Path):
    path = tmp_path / "ip-adapter.bin"
    torch.save({"image_proj": {"latents": torch.zeros(1)}, "ip_adapter": {"1.to_k_ip.weight": torch.zeros(1)}}, path)
    assert "is an IP-Adapter" in unsaid(path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {}, {"module": {}}, {"module": 3}, {1: 2}], ids=repr)
def test_something_else_entirely_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "a.pt")
    assert "a.pt" in unsaid(tmp_path / "a.pt")


def _without(weights: Weights, key: str) -> Weights:
    return {name: tensor for name, tensor in weights.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: _without(w, "proj.latents"),
            f"1 of {len(expected_shapes())} tensors are missing (first: proj.latents)",
        ),
        (lambda w: w | {"proj.surplus": torch.zeros(1)}, "1 tensors are not part of it (first: proj.surplus)"),
        (lambda w: w | {"proj.latents": torch.zeros(1, 8, 768)}, "(1, 8, 768) torch.float32, expected (1, 16, 768)"),
        (lambda w: w | {"proj.latents": torch.zeros(1, 16, 768, dtype=torch.int8)}, "torch.int8, expected"),
        (lambda w: w | {"proj.latents": "text"}, "proj.latents is a str, expected (1, 16, 768)"),
    ],
    ids=["missing", "extra", "shape", "integers", "no tensor"],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, weights: Weights, change: Callable[[Weights], Weights], message: str
):
    torch.save({"module": change(weights)}, tmp_path / "a.pt")
    assert message in unsaid(tmp_path / "a.pt")


def test_saved_files_say_where_they_come_from(tmp_path: Path):
    storage.save_whole({"a": torch.zeros(2)}, tmp_path / "folder" / "a.safetensors", {"imagdressing.source": "b.pt"})
    with safe_open(tmp_path / "folder" / "a.safetensors", framework="pt") as file:
        assert file.metadata()["imagdressing.source"] == "b.pt"
