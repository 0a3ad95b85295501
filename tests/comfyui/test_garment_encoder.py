"""Encoding a garment in the real ComfyUI: once, whatever the precision, memory and size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import parity
from support.comfyui_release import prepare_base
from support.encoding import encode, random_image
from support.narrow_encoder import narrow_garment_of_vectors
from support.narrow_unet import CHANNELS

from imagdressing_core.files import official_files

pytestmark = pytest.mark.full_size


def image_error(ours: Any, theirs: Any) -> float:
    """Return the worst relative error of K' and V' over all layers."""
    return max(
        parity.relative_error(tensor.float(), theirs.layers[index].tensors[name].float())
        for index, layer in ours.layers.items()
        for name, tensor in layer.tensors.items()
    )


def test_the_garment_unet_ends_with_the_last_layer_that_is_needed(encoder: Any, garment: Any):
    unet = encoder.garment_unet.model.diffusion_model
    last = unet.output_blocks[11][1].transformer_blocks[0]
    modules = {"first": unet.input_blocks[0][0], "last": last.norm1, "beyond": last.attn1, "out": unet.out[2]}
    ran: list[str] = []
    hooks = [module.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, module in modules.items()]
    narrow_garment_of_vectors()
    for hook in hooks:
        hook.remove()
    assert ran == ["first", "last"]


def test_a_batch_of_images_equals_the_images_one_by_one(encoder: Any):
    batch = random_image(2, 80, 64, 3)
    both = encode(encoder, batch)
    assert [(image.origin.width, image.origin.height) for image in both.images] == [(64, 80)] * 2
    for i, image in enumerate(both.images):
        assert image_error(image, encode(encoder, batch[i : i + 1]).images[0]) <= 1e-4


@pytest.mark.parametrize("fit", ["official", "pad", "crop"])
@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (1, 90, 40, 1), (1, 40, 90, 4)], ids=str)
def test_any_size_and_kind_of_image_is_encoded(encoder: Any, fit: str, shape: tuple[int, ...]):
    garment = encode(encoder, random_image(*shape), fit=fit)
    shapes = [tuple(layer.k.shape) for layer in garment.images[0].layers.values()]
    assert shapes[:3] == [(1, 80, CHANNELS), (1, 80, CHANNELS), (1, 20, CHANNELS)]


@pytest.mark.parametrize(("width", "height"), [(71, 87), (71.5, 80.0)], ids=["whole", "from a node of floats"])
def test_sizes_between_the_steps_are_rounded_down_to_the_latents_grid(encoder: Any, width: float, height: float):
    garment = encode(encoder, random_image(1, 90, 70, 3), width=width, height=height)
    origin = garment.images[0].origin
    assert (origin.width, origin.height) == (64, 80)


def test_a_mask_makes_the_background_white(encoder: Any):
    image = random_image()
    mask = torch.zeros(1, 80, 64)
    mask[:, 20:60, 16:48] = 1
    on_white = torch.where(mask.bool().unsqueeze(-1), image, 1.0)
    assert image_error(encode(encoder, image, mask=mask).images[0], encode(encoder, on_white).images[0]) == 0


def test_the_backgrounds_tokens_can_be_left_out(encoder: Any):
    mask = torch.zeros(1, 80, 64)
    mask[:, :40] = 1
    image = random_image()
    whole, part = (encode(encoder, image, mask=mask, fit="pad", drop_background=drop) for drop in (False, True))
    assert [layer.k.shape[1] for layer in whole.images[0].layers.values()][:3] == [80, 80, 20]
    assert [layer.k.shape[1] for layer in part.images[0].layers.values()][:3] == [40, 40, 12]
    assert torch.equal(part.images[0].layers[0].k, whole.images[0].layers[0].k[:, :40])


def test_leaving_the_background_out_needs_a_mask(encoder: Any):
    with pytest.raises(Exception, match="drop_background needs a mask") as refusal:
        encode(encoder, random_image(), drop_background=True)
    assert type(refusal.value).__name__ == "IMAGDressingError"


@pytest.mark.parametrize(
    ("flag", "dtype", "limit"),
    [
        ("fp16_unet", torch.float16, 0.02),
        ("bf16_unet", torch.bfloat16, 0.1),
        ("fp8_e4m3fn_unet", torch.float8_e4m3fn, 0.5),
        ("fp8_e5m2_unet", torch.float8_e5m2, 0.8),
    ],
)
def test_comfyuis_weight_type_is_the_garment_unets(
    monkeypatch: pytest.MonkeyPatch, official_garment: Any, flag: str, dtype: torch.dtype, limit: float
):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "fp32_unet", False)
    monkeypatch.setattr(args, flag, True)
    encoder = comfyui.call("IMAGDressingModelLoader", model_name=official_files.GARMENT.name)
    assert encoder.garment_unet.model.get_dtype() == dtype
    (image,) = encoder.encode(parity.vectors()["input.garment_latent"] / 0.18215, parity.vectors()["input.clip_hidden"])
    assert 0 < image_error(image, official_garment.images[0]) < limit


def test_half_precision_weights_stay_small_on_the_cpu_and_give_what_float32_gives(monkeypatch: pytest.MonkeyPatch):
    import comfy.model_management as management

    monkeypatch.setattr(management, "cpu_state", management.CPUState.CPU)  # where there is a GPU, as --cpu does
    module = comfyui.pack("imagdressing_core.files.checkpoint")
    file = module.read_checkpoint(prepare_base() / "models" / official_files.GARMENT.path)
    parts = (
        {key: one.half() for key, one in part.items()} for part in (file.garment_unet, file.qformer, file.projections)
    )
    half = module.Checkpoint(file.path, file.variant, *parts)
    encoder = comfyui.pack("nodes.comfyui.garment_encoder").load_garment_encoder(half)
    del file, half
    unet = encoder.garment_unet.model
    assert unet.get_dtype() == torch.float16
    assert unet.get_dtype_inference() == torch.float32
    inputs = parity.vectors()["input.garment_latent"] / 0.18215, parity.vectors()["input.clip_hidden"]
    (kept,) = encoder.encode(*inputs)
    for model in (unet, encoder.adapter.model):
        model.float()  # the same values, held as ComfyUI would hold them
    (widened,) = encoder.encode(*inputs)
    assert image_error(kept, widened) == 0


def test_a_garment_unet_that_hardly_fits_in_memory_encodes_the_same(
    monkeypatch: pytest.MonkeyPatch, encoder: Any, garment: Any
):
    """ComfyUI loads partially only on a GPU; told that this CPU is one, without free memory, it does so here."""
    import comfy.model_management as management

    management.unload_all_models()
    monkeypatch.setattr(management, "is_device_cpu", lambda _: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    again = narrow_garment_of_vectors()
    assert encoder.garment_unet.model.model_lowvram
    assert encoder.adapter.model.model_lowvram
    assert image_error(again.images[0], garment.images[0]) == 0
    monkeypatch.undo()
    management.unload_all_models()


def test_the_frozen_unet_of_the_file_is_never_brought_into_memory(tmp_path: Path):
    from imagdressing_core.files.checkpoint import expected_shapes, read_checkpoint
    from imagdressing_core.files.sd15_shapes import unet_shapes

    frozen = {f"unet.{key}": torch.zeros(shape, dtype=torch.half) for key, shape in unet_shapes().items()}
    trained = {key: torch.zeros(1, dtype=torch.half).expand(shape) for key, shape in expected_shapes().items()}
    path = tmp_path / "official.pt"
    torch.save({"module": frozen | trained}, path)
    del frozen
    checkpoint = read_checkpoint(path, lambda *_: None)
    assert checkpoint.garment_unet.keys() == unet_shapes().keys()
    assert _resident_bytes(path) < 0.05 * path.stat().st_size
    path.unlink()


def _resident_bytes(path: Path) -> int:
    """Return how much of a memory-mapped file this process has in memory."""
    resident, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path.resolve()))
        elif inside and line.startswith("Rss:"):
            resident += 1024 * int(line.split()[1])
    return resident


def test_reading_a_garment_tells_how_far_it_is(encoder: Any):
    told: list[tuple[int, int]] = []
    vectors = parity.vectors()
    encoder.encode(
        vectors["input.garment_latent"] / 0.18215,
        vectors["input.clip_hidden"],
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(i + 1, 16) for i in range(16)]
