"""What does not fit is rejected with a message: which socket, what was found, what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import pytest
import torch
from safetensors.torch import save_file
from support import comfyui_process as comfyui
from support import encoding, parity, synthetic_models
from support.narrow_encoder import narrow_encoder
from support.narrow_unet import SD15_CHANNELS, narrow_model
from support.sampling import apply_garment


def model_of(config: Any) -> Any:
    """A MODEL of another family, without weights."""
    with torch.device("meta"):
        unet = config.get_model({}, device="meta")
    return comfy.model_patcher.ModelPatcher(unet, torch.device("cpu"), torch.device("cpu"))


def sdxl() -> Any:
    config = comfy.supported_models.SDXL.unet_config | {"num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4]}
    config |= {"transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10}
    return model_of(comfy.supported_models.SDXL(sd15_config() | config | {"num_head_channels": 64, "num_heads": -1}))


def sd15_config() -> dict[str, Any]:
    return dict(narrow_model().model.model_config.unet_config)


def sd2() -> Any:
    config = {"context_dim": 1024, "num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True}
    return model_of(comfy.supported_models.SD20(sd15_config() | config))


def flux() -> Any:
    config = comfy.supported_models.Flux.unet_config | {
        "in_channels": 16, "out_channels": 16, "hidden_size": 64, "num_heads": 1, "depth": 1, "depth_single_blocks": 1,
        "axes_dim": [16, 24, 24], "vec_in_dim": 8, "context_in_dim": 8, "mlp_ratio": 4.0, "theta": 10000,
        "patch_size": 2, "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": [],
    }  # fmt: skip
    return model_of(comfy.supported_models.Flux(config))


def apply(model: Any, garment: Any) -> Any:
    inputs = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    return comfyui.call("IMAGDressingApply", model=model, garment=garment, **inputs)


@pytest.mark.parametrize(("make", "name"), [(sdxl, "SDXL"), (sd2, "SD20"), (flux, "Flux")])
def test_a_model_of_another_family_is_refused_by_name(garment: Any, make: Callable[[], Any], name: str):
    with pytest.raises(ValueError, match=f"model is {name}; IMAGDressing-v1 works with SD1.5 only"):
        apply(make(), garment)


def test_an_inpainting_sd15_of_nine_channels_is_accepted(garment: Any):
    inpainting = comfy.supported_models.SD15(sd15_config() | {"in_channels": 9})
    assert apply(model_of(inpainting), garment) is not None


def encode(**inputs: Any) -> Any:
    return encoding.encode(narrow_encoder(), **inputs)


def test_a_clip_vision_that_is_not_vit_h_is_refused_with_both_named():
    clip_l = encoding.clip_vision("clip_vision_config_vitl.json")
    with pytest.raises(ValueError, match=r"257 tokens of 1024 channels.*ViT-H/14.*257 of 1280"):
        encode(clip_vision=clip_l)


def test_a_vae_of_another_family_is_refused():
    flux_vae = synthetic_models.sd15_vae(latent_channels=16)
    with pytest.raises(ValueError, match=r"vae makes latents of 16 channels.*needs an SD1\.5 VAE with 4"):
        encode(vae=comfy.sd.VAE(sd=flux_vae.state_dict()))


def test_a_checkpoint_without_vae_is_pointed_out():
    with pytest.raises(ValueError, match=r"vae is empty: the node that it is wired to gave nothing"):
        encode(vae=None)


def test_a_vae_object_that_never_loaded_is_pointed_out(tmp_path: Path):
    import folder_paths

    unet = narrow_model(channels=SD15_CHANNELS).model.diffusion_model.state_dict()
    save_file({f"model.diffusion_model.{key}": tensor for key, tensor in unet.items()}, tmp_path / "no_vae.safetensors")
    folder_paths.add_model_folder_path("checkpoints", str(tmp_path))
    loaded, _, broken = comfyui.call("CheckpointLoaderSimple", ckpt_name="no_vae.safetensors")
    assert type(loaded.model.model_config).__name__ == "SD15"
    with pytest.raises(ValueError, match="vae is empty"):
        encode(vae=broken)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": torch.rand(80, 64, 3)}, "image must be a batch of images"),
        ({"image": torch.rand(1, 80, 64, 5)}, "image must be a batch of images"),
        ({"image": torch.rand(1, 80, 15, 3)}, "at least 16 on each side"),
        ({"image": torch.full((1, 80, 64, 3), float("nan"))}, "image holds NaN"),
        ({"image": torch.rand(1, 80, 64, 3) * 255}, "image goes from 0 to 255"),
        ({"image": torch.ones(1, 80, 64, 3, dtype=torch.uint8)}, "image goes from 0 to 255"),
        ({"mask": torch.zeros(1, 80, 64)}, "is empty: it marks no garment at all"),
        ({"mask": torch.full((1, 80, 64), float("nan"))}, "mask holds NaN"),
        ({"mask": torch.ones(3, 80, 64)}, "3 masks for 1 images"),
    ],
    ids=[
        "rank",
        "channels",
        "too small",
        "NaN image",
        "0 to 255",
        "whole numbers",
        "empty mask",
        "NaN mask",
        "too many masks",
    ],
)
def test_an_image_or_mask_that_cannot_be_read_is_refused(inputs: dict[str, torch.Tensor], message: str):
    with pytest.raises(ValueError, match=message):
        encode(**inputs)


def test_nan_is_found_at_encoding_not_in_the_image():
    latent = torch.full((1, 4, 10, 8), float("nan"))
    with pytest.raises(ValueError, match="Encoding the garment gave NaN"):
        narrow_encoder().encode(latent, parity.vectors()["input.clip_hidden"])


def test_a_comfyui_that_is_too_old_is_told_which_it_should_be(monkeypatch: pytest.MonkeyPatch):
    import comfyui_version

    monkeypatch.setattr(comfyui_version, "__version__", "0.15.9")
    with pytest.raises(Exception, match=r"needs ComfyUI 0\.16\.3 or newer; this is 0\.15\.9"):
        comfyui.pack("nodes.comfyui.requirements").require_supported_comfyui()


@pytest.mark.parametrize("mask", [torch.full((1, 8, 8), torch.nan), torch.zeros(0, 8, 8), torch.zeros(3)], ids=str)
def test_a_mask_that_is_none_is_refused(model: Any, garment: Any, mask: torch.Tensor):
    with pytest.raises(Exception, match=r"mask h(olds NaN|as the shape)") as refusal:
        apply_garment(model, garment, mask=mask)
    assert type(refusal.value).__name__ == "IMAGDressingError"


@pytest.mark.parametrize("shape", [(80, 64), (1, 80, 64), (1, 1, 80, 64), (1, 80, 64, 1)], ids=str)
def test_every_shape_of_mask_in_use_means_the_same(model: Any, garment: Any, shape: tuple[int, ...]):
    mask = torch.linspace(0, 1, 80 * 64).reshape(shape)
    (applied,) = comfyui.pack("nodes.comfyui.wrappers").applied_garments(apply_garment(model, garment, mask=mask))
    assert torch.equal(applied.mask, mask.reshape(1, 80, 64))
