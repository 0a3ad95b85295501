"""From the small trained models to files in the official formats, under the official names, and back to one small file.

``python -m demo.models MODELS`` fills a ``models`` folder of ComfyUI; ``--pack STATE`` first takes the weights from a
training's state folder into ``demo/weights.safetensors``, which is what the repository ships.
"""

import argparse
import io
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save, save_file
from support.synthetic_models import clip_text, clip_vision_h

from imagdressing_core.files.official_files import (
    CLIP_VISION,
    CONTROLNET,
    CONTROLNET_INPAINT,
    DENOISING,
    GARMENT,
    VAE,
)
from imagdressing_core.model.hybrid_attention import GarmentProjections
from imagdressing_core.model.qformer import QFormer

from . import data, narrow
from .parts import trained_together
from .widening import Weights, ldm_name, widened, zeros

SHIPPED = Path(__file__).with_name("weights.safetensors")
IN_BYTES, SCALE = ("pose", "inpaint"), ".scale"
PARTS = ("unet", "garment", "decoder", "pose", "inpaint")
MARK = "DRAWN.txt"
BLOCK = 1 << 16  # bytes that are written or left out as one
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


class SparseFile(io.FileIO):
    """A file in which long runs of zeros take neither room nor time, on file systems that leave holes."""

    def write(self, content: Any) -> int:
        whole = memoryview(content).cast("B")
        for start in range(0, len(whole), BLOCK):
            block = whole[start : start + BLOCK]
            if numpy.frombuffer(block, numpy.uint8).any():
                super().write(block)
            else:
                self.seek(len(block), os.SEEK_CUR)
        self.truncate(self.tell())
        return len(whole)


def save_sparse(weights: Weights, path: Path) -> None:
    """Write a file in the format of its suffix, whole or not at all; ``.pt`` as the official checkpoint has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with SparseFile(unfinished, "w") as file:
        if path.suffix == ".pt":
            torch.save({"module": weights}, file)
        else:
            file.write(save(weights, {"format": "pt"}))
    unfinished.replace(path)


def make_models(folder: Path, shipped: Path = SHIPPED, dtype: torch.dtype = torch.float16) -> None:
    """Write every model of the demo below ``folder``, a ComfyUI's ``models``, where it is not there yet."""
    parts = unpacked(shipped)
    for file, make in {
        DENOISING: lambda: checkpoint(parts["unet"], dtype),
        GARMENT: lambda: garment_checkpoint(parts["garment"], dtype),
        VAE: lambda: vae(parts["decoder"], torch.float32),
        CLIP_VISION: lambda: _zeros(clip_vision_h, dtype),
        CONTROLNET: lambda: controlnet(parts["pose"], dtype),
        CONTROLNET_INPAINT: lambda: controlnet(parts["inpaint"], dtype),
    }.items():
        path = folder / file.path
        if not path.exists() or path.stat().st_mtime < shipped.stat().st_mtime:
            save_sparse(make(), path)
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


def controlnet(weights: Weights, dtype: torch.dtype) -> Weights:
    return widened(weights, shapes(narrow.wide_controlnet), dtype)


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


def shapes(build: Callable[[], Any]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a network that is never made, name to shape; position ids are no weights."""
    with torch.device("meta"):
        return {key: tuple(one.shape) for key, one in build().state_dict().items() if "position_ids" not in key}


def pack(state: Path, shipped: Path = SHIPPED) -> None:
    """Take the trained weights of every part into one file: in fp16, ControlNets' in a byte each.

    What has no part in any result is left out.
    """
    tensors: Weights = {}
    for part in PARTS:
        weights = trained_together(state, "unet.") if part == "unet" else load_file(state / f"{part}.safetensors")
        for key, one in weights.items():
            if narrow.is_idle(key):
                continue
            name = f"{part}/{key}"
            if part in IN_BYTES and one.ndim > 1:
                scale = one.flatten(1).abs().amax(1).clamp(min=1e-12) / 127  # of each row
                tensors[name + SCALE] = scale
                one = (one / scale.view(-1, *[1] * (one.ndim - 1))).round().to(torch.int8)
            tensors[name] = one if one.dtype == torch.int8 else one.half()
    save_file(tensors, shipped)


def unpacked(shipped: Path) -> dict[str, Weights]:
    """Return {part: its narrow weights in float32}."""
    stored = load_file(shipped)
    parts: dict[str, Weights] = {}
    for key, one in stored.items():
        part, _, name = key.partition("/")
        if name.endswith(SCALE):
            continue
        scale = stored.get(key + SCALE)
        one = one.float() if scale is None else one.float() * scale.view(-1, *[1] * (one.ndim - 1))
        parts.setdefault(part, {})[name] = one
    return parts


def _zeros(build: Callable[[], Any], dtype: torch.dtype) -> Weights:
    return zeros(shapes(build), dtype)


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
