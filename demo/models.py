"""From the small trained models to files in the official formats, under the official names, and back to one small file.

``python -m demo.models MODELS`` fills a ``models`` folder of ComfyUI; ``--pack STATE`` first takes the weights from a
training's state folder into ``demo/weights.safetensors``, which is what the repository ships.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from imagdressing_core.model.hybrid_attention import GarmentProjections
from imagdressing_core.model.qformer import QFormer

from . import data, narrow
from .narrow import Weights, widened

SHIPPED = Path(__file__).with_name("weights.safetensors")
CHECKPOINT = "checkpoints/Realistic_Vision_V4.0.safetensors"
GARMENT = "imagdressing/IMAGDressing-v1_512.pt"
VAE = "vae/vae-ft-mse-840000-ema-pruned.safetensors"
CLIP_VISION = "clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
MARK = "DRAWN.txt"
NOTICE = (
    "These models know nothing but a drawn world of flat figures. They have the official formats and names, so that "
    "the workflows run on them. The README says where the real ones come from.\n"
)
FACTOR = 0.18215  # of SD1.5's latents: what the VAE gives, times this, is what the U-Net sees
NEVER = -30.0  # a log-variance: the encoder is sure of its latents
CERTAIN = 1024.0  # far larger than any latent: GroupNorm then divides by it and by as good as nothing else

# CLIP's tokens for the words that the drawn world knows, with some that mean the same. Any other word means nothing.
# Source: the vocabulary of OpenAI's CLIP, "<word></w>".
WORD_TOKENS: Mapping[str, tuple[int, ...]] = {
    "woman": (2308, 1507, 1611, 1917, 2909, 3970),  # woman, women, girl, girls, lady, female
    "man": (786, 1656, 1876, 2034, 2149, 2801),  # man, men, boy, boys, guy, male
    "black": (1449,),
    "brown": (2866, 35528),  # brown, brunette
    "blonde": (10711, 32426),  # blonde, blond
    "red": (736, 9718, 36267),  # red, ginger, redhead
    "standing": (2862, 6446, 2087),  # standing, stands, stand
    "waving": (26545,),
    "cheering": (14289, 3382),  # cheering, celebrating
    "posing": (10518, 9773),  # posing, poses
    "park": (1452, 2756, 17195),  # park, garden, meadow
    "street": (2012, 1305, 1759, 1605, 5061),  # street, city, road, town, downtown
    "beach": (2117, 2102, 18867, 4918, 3720),  # beach, sea, seaside, ocean, coast
    "studio": (3155, 22973),  # studio, indoors
}


def make_models(folder: Path, shipped: Path = SHIPPED, dtype: torch.dtype = torch.float16) -> None:
    """Write every model of the demo below ``folder``, a ComfyUI's ``models``, where it is not there yet."""
    parts = unpacked(shipped)
    for name, make in {
        CHECKPOINT: lambda: checkpoint(parts["base"], dtype),
        GARMENT: lambda: garment_checkpoint(parts["garment"], dtype),
        VAE: lambda: vae(parts["decoder"], torch.float32),
        CLIP_VISION: lambda: _zeros(clip_vision, dtype),
    }.items():
        path = folder / name
        if not path.exists() or path.stat().st_mtime < shipped.stat().st_mtime:
            _save(make(), path)
    (folder / MARK).write_text(NOTICE)


def checkpoint(base: Weights, dtype: torch.dtype) -> Weights:
    """Return an SD1.5 checkpoint without VAE in the single-file format, as Realistic Vision V4.0 (noVAE) is."""
    unet = wide_unet(base, dtype)
    text = text_encoder(dtype)
    return {f"model.diffusion_model.{ldm_name(key)}": one for key, one in unet.items()} | {
        f"cond_stage_model.transformer.{key}": one for key, one in text.items()
    }


def garment_checkpoint(garment: Weights, dtype: torch.dtype) -> Weights:
    """Return the content of the official file's ``module``: garment U-Net, Q-Former and garment projections."""
    unet = {key.removeprefix("ref_unet."): one for key, one in garment.items() if key.startswith("ref_unet.")}
    projections = {
        key.removeprefix("adapter_modules."): one for key, one in garment.items() if key.startswith("adapter_modules.")
    }
    parts = {
        "ref_unet.": wide_unet(unet, dtype),
        "proj.": qformer(dtype),
        "adapter_modules.": widened(projections, shapes(GarmentProjections), dtype),
    }
    return {prefix + key: one for prefix, part in parts.items() for key, one in part.items()}


def wide_unet(unet: Weights, dtype: torch.dtype) -> Weights:
    return widened(unet, shapes(narrow.wide_unet), dtype)


def qformer(dtype: torch.dtype) -> Weights:
    """Return a Q-Former whose tokens are the constant that the garment U-Net was trained with."""
    weights = _zeros(QFormer, dtype)
    weights["norm_out.bias"][: narrow.CONTEXT] = narrow.ConstantContext().latents[0, 0].to(dtype)
    return weights


def text_encoder(dtype: torch.dtype) -> Weights:
    """Return a CLIP text encoder that gives each known word its vector, wherever it stands, and others nothing."""
    weights = _zeros(clip_text, dtype)
    weights = {key if key.startswith("text_model.") else f"text_model.{key}": one for key, one in weights.items()}
    vectors = data.word_vectors().to(dtype)
    table = weights["text_model.embeddings.token_embedding.weight"]
    for word, tokens in WORD_TOKENS.items():
        for token in tokens:
            table[token, : narrow.CONTEXT] = vectors[data.VOCABULARY.index(word)]
    spread = (narrow.CONTEXT / narrow.WIDE_CONTEXT + 1e-5) ** 0.5  # of a word's vector among all channels
    weights["text_model.final_layer_norm.weight"][: narrow.CONTEXT] = spread
    return weights


def vae(decoder: Weights, dtype: torch.dtype) -> Weights:
    """Return SD1.5's VAE: an encoder that takes means, and the trained decoder."""
    weights = widened(decoder, shapes(narrow.wide_vae), dtype)
    weights["post_quant_conv.weight"] *= FACTOR
    _write_encoder(weights)
    return weights


def _write_encoder(weights: Weights) -> None:
    """Let the encoder compute :func:`demo.data.encode`: means of 8 × 8 pixels, by three halvings, and differences.

    Channels 0 … 2 carry red, green and blue to the last halving, which writes the four latents, their negatives and
    ±CERTAIN. SiLU(x) − SiLU(−x) = x makes the end linear.
    """
    for channel in range(3):
        weights["encoder.conv_in.weight"][channel, channel, 1, 1] = 1
        for shortcut in ("down_blocks.1.resnets.0", "down_blocks.2.resnets.0"):
            weights[f"encoder.{shortcut}.conv_shortcut.weight"][channel, channel] = 1
        for level in (0, 1):
            weights[f"encoder.down_blocks.{level}.downsamplers.0.conv.weight"][channel, channel, :2, :2] = 0.25
    last = "encoder.down_blocks.2.downsamplers.0.conv"
    for row in range(4):
        for sign, channel in ((1, row), (-1, row + 4)):
            scale = sign / data.SPREAD[row]
            weights[f"{last}.bias"][channel] = -scale * data.CENTRE[row]
            for colour in range(3):
                if row < 3:
                    taps = torch.full((2, 2), data.OPPONENT[row][colour] / 4)
                else:
                    taps = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]) / 6
                weights[f"{last}.weight"][channel, colour, :2, :2] = scale * taps
    weights[f"{last}.bias"][8], weights[f"{last}.bias"][9] = CERTAIN, -CERTAIN
    group = narrow.VAE_WIDE[-1] // narrow.GROUPS
    weights["encoder.conv_norm_out.weight"][:8] = CERTAIN * (2 / group) ** 0.5
    for row in range(4):
        weights["encoder.conv_out.weight"][row, row, 1, 1] = 1 / FACTOR
        weights["encoder.conv_out.weight"][row, row + 4, 1, 1] = -1 / FACTOR
        weights["quant_conv.weight"][row, row] = 1
    weights["quant_conv.bias"][4:] = NEVER


def ldm_name(key: str) -> str:
    """Return the single-file format's name for a tensor of SD1.5's U-Net that diffusers calls ``key``.

    Source: Stability AI's openaimodel.py and diffusers' UNet2DConditionModel, which number the same blocks apart.
    """
    parts = key.split(".")
    if parts[0] in LDM_ENDS or ".".join(parts[:2]) in LDM_ENDS:
        whole = parts[0] if parts[0] in LDM_ENDS else ".".join(parts[:2])
        return f"{LDM_ENDS[whole]}.{parts[-1]}"
    if parts[0] == "mid_block":
        number = 1 if parts[1] == "attentions" else 2 * int(parts[2])
        return ".".join(["middle_block", str(number), *_ldm_inner(parts[1], parts[3:])])
    level, kind, number = int(parts[1]), parts[2], int(parts[3])
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{parts[-1]}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.conv.{parts[-1]}"
    block = (
        f"input_blocks.{3 * level + number + 1}" if parts[0] == "down_blocks" else f"output_blocks.{3 * level + number}"
    )
    return ".".join([block, "0" if kind == "resnets" else "1", *_ldm_inner(kind, parts[4:])])


LDM_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
LDM_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _ldm_inner(kind: str, parts: list[str]) -> list[str]:
    return [LDM_RESNET[parts[0]], *parts[1:]] if kind == "resnets" else parts


def clip_text() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    )


def clip_vision() -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=1024,
            hidden_act="gelu",
        )
    )


def shapes(build: Callable[[], Any]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a network that is never made, name to shape; position ids are no weights."""
    with torch.device("meta"):
        return {key: tuple(one.shape) for key, one in build().state_dict().items() if "position_ids" not in key}


def pack(state: Path, shipped: Path = SHIPPED) -> None:
    """Take the trained weights of every part into one file in fp16, without those that have no part."""
    tensors = {
        f"{part}/{key}": one.half()
        for part in ("base", "garment", "decoder")
        for key, one in load_file(state / f"{part}.safetensors").items()
        if not narrow.is_idle(key)
    }
    save_file(tensors, shipped)


def unpacked(shipped: Path) -> dict[str, Weights]:
    """Return {part: its narrow weights in float32}."""
    parts: dict[str, Weights] = {}
    for key, one in load_file(shipped).items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = one.float()
    return parts


def _zeros(build: Callable[[], Any], dtype: torch.dtype) -> Weights:
    return {key: torch.zeros(shape, dtype=dtype) for key, shape in shapes(build).items()}


def _save(weights: Weights, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    if path.suffix == ".pt":
        torch.save({"module": weights}, unfinished)
    else:
        save_file(weights, unfinished, {"format": "pt"})
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("--pack", type=Path, metavar="STATE")
    arguments = parser.parse_args()
    if arguments.pack:
        pack(arguments.pack)
    started = time.monotonic()
    make_models(arguments.models)
    print(f"The drawn world's models are in {arguments.models}, after {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
