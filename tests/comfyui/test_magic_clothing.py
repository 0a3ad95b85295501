"""MagicClothing's checkpoints in the same nodes: its own context, background, rule and unconditional policy."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
import torch
from safetensors.torch import save_file
from support import comfyui_process as comfyui
from support import encoding, other_nodes, parity
from support.narrow_encoder import narrow_encoder
from support.plain_reference import plain_attention
from support.sampling import apply_garment, predict, prompt, sample
from torch import Tensor

from imagdressing_core.files import official_files

pytestmark = pytest.mark.full_size

GARMENT = comfyui.pack("imagdressing_core.model.garment")
MAGIC_CLOTHING = comfyui.pack("imagdressing_core.model.magic_clothing")
LAYERS = comfyui.pack("imagdressing_core.model.layers").LAYERS
LIMIT = 1e-4
JOINT, ADDITIVE = "magic_clothing_768_vitonhd_joint.safetensors", "garment_extractor.safetensors"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both published forms in one folder, in fp16: the bare U-Net, and the extractor beside its projections."""
    folder: Path = tmp_path_factory.mktemp("magic_clothing")
    checkpoint = comfyui.pack("imagdressing_core.files.checkpoint")
    own = checkpoint.read_checkpoint(_models() / official_files.GARMENT.path)
    save_file({key: tensor.half() for key, tensor in own.garment_unet.items()}, folder / JOINT)
    (folder / ADDITIVE).hardlink_to(folder / JOINT)
    torch.save({key.replace("_ref.", "_ip."): v for key, v in own.projections.items()}, folder / "ip_layer.pth")
    return folder


def _models() -> Path:
    import folder_paths

    return Path(folder_paths.models_dir)


def load(path: Path) -> Any:
    checkpoint = comfyui.pack("imagdressing_core.files.checkpoint").read_checkpoint(path)
    with torch.inference_mode():
        return comfyui.pack("nodes.comfyui.garment_encoder").load_garment_encoder(checkpoint)


@pytest.fixture(scope="module")
def joint_garment() -> Any:
    """A garment of the concatenation rule, 64 × 80 pixels, for the narrow U-Net."""
    with torch.inference_mode():
        return joint_garment_of(narrow_encoder(magic_clothing=True))


def joint_garment_of(encoder: Any) -> Any:
    latent = parity.vectors()["input.garment_latent"] / 0.18215
    return GARMENT.Garment(encoder.encode(latent, other_nodes.random(1, 77, 768, seed=4)))


@contextmanager
def wearing_joint(model: Any, garment: Any, conditional: list[Tensor]) -> Iterator[None]:
    """MagicClothing's rule by hooks: Attn(Q, [K; K'], [V; V']), K' and V' by the layer's own projections.

    Rows of other prompts than ``conditional`` see as many tokens, all zero.
    """
    unet, rows = model.model.diffusion_model, []
    image = garment.images[0]

    def note(_: Any, __: Any, kwargs: Any) -> None:
        rows[:] = [any(torch.equal(row, one[0].to(row)) for one in conditional) for row in kwargs["context"]]

    with ExitStack() as hooks:
        hooks.callback(unet.register_forward_pre_hook(note, with_kwargs=True).remove)
        for layer in LAYERS:
            for handle in _join(unet.get_submodule(f"{layer.ldm_name}.attn1"), image.layers[layer.index].c[0], rows):
                hooks.callback(handle.remove)
        yield


def _join(attention: Any, features: Tensor, rows: list[bool]) -> list[Any]:
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        return lambda _, __, out: seen.__setitem__(name, out)

    def attend(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        z = args[0].clone()
        for i, conditional in enumerate(rows):
            tokens = features.to(z) if conditional else torch.zeros_like(features).to(z)
            k = torch.cat((seen["k"][i], torch.nn.functional.linear(tokens, attention.to_k.weight)))
            v = torch.cat((seen["v"][i], torch.nn.functional.linear(tokens, attention.to_v.weight)))
            z[i] = plain_attention(seen["q"][i], k, v, attention.heads).to(z)
        return (z,)

    return [getattr(attention, f"to_{name}").register_forward_hook(note(name)) for name in "qkv"] + [
        attention.to_out.register_forward_pre_hook(attend)
    ]


def test_the_concatenation_rule_is_one_softmax_over_both(model: Any, joint_garment: Any):
    with wearing_joint(model, joint_garment, [parity.vectors()["input.prompt"]]):
        reference = sample(model)
    assert parity.relative_error(reference, sample(model)) > 0.01
    assert parity.relative_error(sample(apply_garment(model, joint_garment)), reference) <= LIMIT


def test_a_lora_on_the_dressing_unet_acts_on_the_garment_too(model: Any, joint_garment: Any):
    both = other_nodes.lora(apply_garment(model, joint_garment))
    merged = other_nodes.lora(model)
    with wearing_joint(model, joint_garment, [parity.vectors()["input.prompt"]]):
        reference = sample(merged)
    assert parity.relative_error(sample(both), reference) <= LIMIT


def test_its_own_guidance_of_three_branches_is_comfyuis_dual_cfg(model: Any, joint_garment: Any):
    # ε_u + s_T (ε_text − ε_cloth) + s_G (ε_cloth − ε_u): cond2 has the negative prompt too, but gets the garment.
    def guided(model: Any, cond2: Tensor) -> Tensor:
        guider = comfyui.call(
            "DualCFGGuider",
            model=model,
            cond1=prompt("prompt"),
            cond2=[[cond2, {}]],
            negative=prompt("negative"),
            cfg_conds=7.5,
            cfg_cond2_negative=2.5,
            style="regular",
        )
        noise = parity.vectors()["input.noise"]
        schedule = comfyui.call("BasicScheduler", model=model, scheduler="normal", steps=2, denoise=1.0)
        sampler = comfyui.call("KSamplerSelect", sampler_name="euler")
        return guider.sample(noise, torch.zeros_like(noise), sampler, schedule, disable_pbar=True, seed=0)

    negative = parity.vectors()["input.negative"]
    recognisable = negative.clone()  # the reference tells rows apart by their prompt: other by one bit
    recognisable[0, 0, 0] = torch.nextafter(negative[0, 0, 0], torch.tensor(1e9))
    with wearing_joint(model, joint_garment, [parity.vectors()["input.prompt"], recognisable]):
        reference = guided(model, recognisable)
    assert parity.relative_error(guided(apply_garment(model, joint_garment), negative), reference) <= LIMIT


@pytest.mark.parametrize("garments", [1, 2])
def test_the_images_own_attention_is_computed_once_where_no_other_node_owns_it(
    monkeypatch: pytest.MonkeyPatch, model: Any, joint_garment: Any, garments: int
):
    calls: list[int] = []
    original = attention.optimized_attention

    def counting(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return original(*args, **kwargs)

    def owned(q: Tensor, k: Tensor, v: Tensor, options: Any) -> Tensor:
        return original(q, k, v, options["n_heads"], attn_precision=options["attn_precision"])

    monkeypatch.setattr(attention, "optimized_attention", counting)
    noise, with_garment = parity.vectors()["input.noise"], model
    for _ in range(garments):
        with_garment = apply_garment(with_garment, joint_garment, strength=0.6)
    ours = predict(with_garment, noise)
    # One row: the image's own attention, the garment's, and what is beneath each further garment.
    assert len(calls) == len(LAYERS) * (1 + garments + (garments - 1)) + len(LAYERS)  # those of the text
    by_another_node = with_garment.clone()
    for layer in LAYERS:
        by_another_node.set_model_attn1_replace(owned, *layer.block)
    assert parity.relative_error(predict(by_another_node, noise), ours) <= 1e-6


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_strength_goes_from_the_model_without_it(model: Any, joint_garment: Any, strength: float):
    noise = parity.vectors()["input.noise"]
    ours, plain = predict(apply_garment(model, joint_garment, strength=strength), noise), predict(model, noise)
    assert torch.equal(ours, plain) == (strength == 0)


def test_it_runs_with_tiled_tokens(model: Any, joint_garment: Any):
    both = other_nodes.MODEL_PATCHES["HyperTile"](apply_garment(model, joint_garment))
    assert bool(torch.isfinite(sample(both, latent=torch.zeros(1, 4, 16, 16))).all())


def test_the_bare_unet_is_the_concatenation_rule_at_every_layers_own_width(checkpoints: Path):
    (image,) = joint_garment_of(load(checkpoints / JOINT)).images
    assert image.kind is MAGIC_CLOTHING.LayerFeatures
    assert {index: layer.c.shape[2] for index, layer in image.layers.items()} == {
        layer.index: layer.channels for layer in LAYERS
    }


def test_the_additive_form_is_hybrid_attention(checkpoints: Path):
    with torch.inference_mode():
        encoder = load(checkpoints / ADDITIVE)
        assert encoder.preprocessing is MAGIC_CLOTHING.PREPROCESSING
        latent = parity.vectors()["input.garment_latent"] / 0.18215
        images = encoder.encode(latent, other_nodes.random(1, 77, 768, seed=4))
        plain = encode_by_hand(encoder, latent * 0.18215)
    assert images[0].kind is GARMENT.LayerKV
    for layer in LAYERS:
        assert parity.relative_error(images[0].layers[layer.index].k.float(), plain[layer.index]) <= 1e-3


def encode_by_hand(encoder: Any, latent: Tensor) -> dict[int, Tensor]:
    """Return K' as the checkpoint's projections of the features."""
    context = other_nodes.random(1, 77, 768, seed=4)
    unet = encoder.garment_unet.model
    where = encoder.garment_unet.load_device, unet.get_dtype_inference()
    features = parity.garment_features(unet, latent.to(*where), context.to(*where))
    weights = encoder.adapter.model.projections.state_dict()
    return {index: c.float() @ weights[f"{index}.to_k_ref.weight"].to(c).float().T for index, c in features.items()}


def test_encoding_without_clip_says_what_to_connect():
    with pytest.raises(Exception, match="clip is not connected") as refusal:
        encoding.encode(narrow_encoder(magic_clothing=True))
    assert type(refusal.value).__name__ == "IMAGDressingError"


def test_it_is_encoded_with_the_empty_prompt_on_grey():
    mask = torch.zeros(1, 80, 64)
    mask[:, 20:60] = 1
    garment = encoding.encode(narrow_encoder(magic_clothing=True), clip=encoding.clip(), mask=mask)
    assert garment.kind is MAGIC_CLOTHING.LayerFeatures
    assert garment.images[0].thumbnail[2, 30].tolist() == [128, 128, 128]


def test_garments_of_both_kinds_are_applied_together_but_not_joined(model: Any, garment: Any, joint_garment: Any):
    both = apply_garment(apply_garment(model, garment, strength=0.5), joint_garment, strength=0.5)
    assert bool(torch.isfinite(sample(both)).all())
    with pytest.raises(Exception, match="different rules"):
        comfyui.call("IMAGDressingJoinGarments", garment_1=garment, garment_2=joint_garment)


def test_a_saved_garment_comes_back_bit_for_bit(tmp_path: Path):
    wardrobe = comfyui.pack("imagdressing_core.files.garment_file")
    features = {layer.index: other_nodes.random(1, 6, layer.channels, seed=layer.index) for layer in LAYERS}
    layers = {index: MAGIC_CLOTHING.LayerFeatures(c_g) for index, c_g in features.items()}
    saved = GARMENT.GarmentImage(layers, GARMENT.Origin("joint", "0" * 64, "official", 16, 24))
    wardrobe.save_garment(GARMENT.Garment((saved,)), tmp_path / "one.safetensors")
    (loaded,) = wardrobe.load_garment(tmp_path / "one.safetensors").images
    assert loaded.kind is MAGIC_CLOTHING.LayerFeatures
    assert all(torch.equal(loaded.layers[index].c, c_g) for index, c_g in features.items())
