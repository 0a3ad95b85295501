"""A base of ComfyUI's single files: the same models as in folders, and what does not fit is called by its name."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support import tiny_pipelines
from support.training_set import config, write_toml
from torch import Tensor

from demo.widening import ldm_name
from imagdressing_core.catalogue.maker import Models
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.on_diffusers import single_file
from imagdressing_core.on_diffusers.loading import load_frozen
from imagdressing_core.on_diffusers.pipeline import load_pipeline
from imagdressing_core.training import memory
from imagdressing_core.training.config import read_config
from imagdressing_core.training.provenance import weights_digest
from imagdressing_core.training.state import require_state
from imagdressing_core.training.tiny_models import (
    tiny_image_encoder,
    tiny_text_encoder,
    tiny_unet,
    tiny_vae,
)
from imagdressing_core.training.trainer import Trainer

# From diffusers' names of a VAE to those of the official file. Source: Stability AI's autoencoder.py.
VAE_NAMES = {
    "down_blocks.": "down.", "up_blocks.0.": "up.1.", "up_blocks.1.": "up.0.", "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1", "resnets.": "block.",
    "downsamplers.0": "downsample", "upsamplers.0": "upsample", "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
}  # fmt: skip


def official_vae(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a VAE of two levels as the official file has it: attention by convolutions of 1 × 1."""
    official: dict[str, Tensor] = {}
    for key, one in weights.items():
        is_matrix = "attentions" in key and one.ndim == 2
        for ours, theirs in VAE_NAMES.items():
            key = key.replace(ours, theirs)
        official[key] = one[:, :, None, None] if is_matrix else one
    return official


@pytest.fixture
def file(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny base as one official file. A single file says nothing of its heads and groups: SD1.5's are known."""
    tiny = {"UNet2DConditionModel": tiny_unet(), "AutoencoderKL": tiny_vae(), "CLIPTextModel": tiny_text_encoder()}
    tiny["CLIPVisionModelWithProjection"] = tiny_image_encoder()
    plain = {
        name: model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)
        for name, model in tiny.items()
    }
    monkeypatch.setattr(single_file, "CONFIGS", plain)
    monkeypatch.setattr(memory, "CONFIGS", plain)
    unet, vae, text = (
        load_file(models / folder / name)
        for folder, name in (
            ("unet", "diffusion_pytorch_model.safetensors"),
            ("vae", "diffusion_pytorch_model.safetensors"),
            ("text_encoder", "model.safetensors"),
        )
    )
    whole = {f"model.diffusion_model.{ldm_name(key)}": one for key, one in unet.items()}
    whole |= {f"first_stage_model.{key}": one for key, one in official_vae(vae).items()}
    prefix = "cond_stage_model.transformer.text_model."
    whole |= {prefix + key.removeprefix("text_model."): one for key, one in text.items()}
    whole[f"{prefix}embeddings.position_ids"] = torch.arange(24)[None]  # of older files
    whole["model_ema.decay"] = torch.tensor(0.5)
    save_file({key: one.contiguous() for key, one in whole.items()}, tmp_path / "base.safetensors")
    return tmp_path / "base.safetensors"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_base_of_one_file_is_that_of_its_folders(file: Path, models: Path):
    single = load_frozen(file, models / "image_encoder" / "model.safetensors", tokenizer=models / "tokenizer")
    folders = load_frozen(models, models / "image_encoder")
    for name in ("unet", "vae", "text_encoder", "image_encoder"):
        found, expected = (one[name].state_dict() for one in (single, folders))
        assert found.keys() == expected.keys()
        assert all(torch.equal(one, expected[key]) and one.dtype == torch.float32 for key, one in found.items()), name
        assert not single[name].training
    assert single["tokenizer"].model_max_length == folders["tokenizer"].model_max_length == 24


def test_a_run_on_single_files_makes_the_weights_of_one_on_folders(
    file: Path, models: Path, pairs: Path, tmp_path: Path
):
    encoder = models / "image_encoder" / "model.safetensors"
    tiny_pipelines.save_checkpoint(tmp_path / "start.safetensors")  # a Q-Former without one starts at random
    names = {"base": str(file), "image_encoder": str(encoder), "tokenizer": str(models / "tokenizer")}
    start = {"start_from": str(tmp_path / "start.safetensors")}
    states: list[dict[str, Tensor]] = []
    for i, entries in enumerate((names, {})):
        plain = config(models, pairs, tmp_path / f"out{i}", models=entries | start, run={"steps": 2})
        read = read_config(write_toml(plain, tmp_path / "config.toml"))
        assert memory.requirements(read).trained > 0
        Trainer(read).run()
        states.append(load_file(require_state(tmp_path / f"out{i}") / "model.safetensors"))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(one, states[1][key]) for key, one in states[0].items())


def test_images_and_a_catalogues_digests_come_of_one_file_too(file: Path, models: Path, tmp_path: Path):
    tiny_pipelines.save_checkpoint(tmp_path / "start.safetensors")
    encoder, tokenizer = models / "image_encoder", models / "tokenizer"
    single = load_pipeline(file, tmp_path / "start.safetensors", encoder, tokenizer=tokenizer)
    folders = load_pipeline(models, tmp_path / "start.safetensors", encoder)
    images: list[bytes] = []
    for pipeline in (single, folders):
        garment = pipeline.encode_garments([Image.new("RGB", (30, 40), "navy")], width=32, height=40)
        images.append(pipeline(garment, ["a"], width=32, height=40, steps=2)[0].tobytes())
    assert images[0] == images[1]
    digests = Models(file, tmp_path / "start.safetensors", encoder, tokenizer=tokenizer).digests()
    assert digests["unet"] == digests["vae"] == weights_digest(file)


def without(prefix: str) -> Any:
    return lambda whole: {key: one for key, one in whole.items() if not key.startswith(prefix)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda whole: whole | {"conditioner.embedders.1.x": torch.ones(1)},
            "is an SDXL checkpoint: a UNet2D",
        ),
        (lambda _: {"lora_unet_down_blocks_0.lora_up.weight": torch.ones(1)}, "is a LoRA: a UNet2DConditionModel is"),
        (lambda _: {"surprise": torch.ones(1)}, "is of no known kind and holds no UNet2DConditionModel"),
        (without("first_stage_model."), "holds no AutoencoderKL. Name one as vae: many checkpoints come without it"),
        (without("model.diffusion_model.middle_block.1."), r"does not hold a whole UNet2DConditionModel of SD1\.5"),
        (
            without("first_stage_model.encoder.conv_in.w"),
            r"does not hold a whole AutoencoderKL of SD1\.5: some of",
        ),
        (without("cond_stage_model.transformer.text_model.final"), r"whole CLIPTextModel of SD1\.5: 2 of \d+ tensors"),
        (
            lambda whole: whole | {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(16, 9, 3, 3)},
            r"does not hold a whole UNet2DConditionModel of SD1\.5: .*Models of SD2 or for inpainting do not fit",
        ),
    ],
)
def test_another_file_is_named_for_what_it_is(file: Path, models: Path, changed: Any, message: str):
    save_file(changed(load_file(file)), file)
    with pytest.raises(IMAGDressingError, match=message):
        load_frozen(file, models / "image_encoder", tokenizer=models / "tokenizer")


def test_a_file_that_was_cut_off_is_called_damaged(file: Path, models: Path):
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(IMAGDressingError, match=r"base\.safetensors is damaged, incomplete .*Download it again"):
        load_frozen(file, models / "image_encoder", tokenizer=models / "tokenizer")


def test_what_a_single_file_cannot_be_is_said(file: Path, models: Path):
    with pytest.raises(IMAGDressingError, match=r"holds no tokenizer: name one\. ComfyUI has it as .*sd1_tokenizer"):
        load_frozen(file, models / "image_encoder")
    pickled = file.rename(file.with_suffix(".ckpt"))
    with pytest.raises(IMAGDressingError, match=r"base\.ckpt cannot be read as a UNet2DConditionModel: name a \.safe"):
        load_frozen(pickled, models / "image_encoder", tokenizer=models / "tokenizer")


def test_the_known_configurations_are_those_of_the_synthetic_models():
    """On shapes alone; the synthetic models have those of the published files."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]
    from support.synthetic_models import clip_text, clip_vision_h, sd15_unet, sd15_vae
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    kinds = {
        UNet2DConditionModel: sd15_unet,
        AutoencoderKL: sd15_vae,
        CLIPTextModel: clip_text,
        CLIPVisionModelWithProjection: clip_vision_h,
    }
    for kind, build in kinds.items():
        with torch.device("meta"):
            known: Any = kind
            settings = single_file.CONFIGS[kind.__name__]
            is_diffusers = hasattr(known, "from_config")
            model = known.from_config(settings) if is_diffusers else known(known.config_class(**settings))
            expected = build().state_dict()
        assert {key: one.shape for key, one in model.state_dict().items()} == {
            key: one.shape for key, one in expected.items()
        }
