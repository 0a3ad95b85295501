"""Hold the garment beside real packs of other people: ``make packs PACKS=/path/to/custom_nodes`` prints a table.

Whatever of ``CASES`` lies in that folder is loaded as ComfyUI loads it and patches the narrow U-Net, before and after
Apply Garment. Each image is compared with one where plain hooks add the term (``support/plain_reference.py``).
"""

import argparse
import asyncio
import contextlib
import importlib
import logging
import math
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from support import comfyui_process as comfyui
from support.narrow_unet import (
    CHANNELS,
    NEGATIVE,
    POSITIVE,
    apply_garment,
    narrow_garment,
    narrow_model,
    prompt,
    random,
    sample,
)
from support.parity import relative_error
from support.plain_reference import wearing
from torch import Tensor

SIZE = (16, 16)
Patch = Callable[[Any], Any]


def call(node_id: str, **inputs: Any) -> Any:
    """Execute a node; inputs that are not given have the defaults that the node declares."""
    types = importlib.import_module("nodes").NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()["required"]
    return comfyui.call(node_id, **{name: _default(declared) for name, declared in types.items()} | inputs)


def _default(declared: Any) -> Any:
    kind, options = declared[0], declared[1] if len(declared) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options", [None])
    return options.get("default", choices[0])


def node(node_id: str, **inputs: Any) -> Patch:
    def patch(model: Any) -> Any:
        patched = call(node_id, model=model, **inputs)
        return patched[0] if isinstance(patched, tuple) else patched

    return patch


class RandomVAE:
    """Stands for a VAE where a node wants a latent of an image."""

    def vae_encode_crop_pixels(self, image: Tensor) -> Tensor:
        return image

    def encode(self, image: Tensor) -> Tensor:
        return random(len(image), 4, image.shape[1] // 8, image.shape[2] // 8, seed=5)


def reference_control(**inputs: Any) -> dict[str, Any]:
    """Return the prompts under Advanced-ControlNet's Reference."""
    latent = {"samples": torch.zeros(1, 4, *SIZE)}
    image = call("ACN_ReferencePreprocessor", image=torch.rand(1, 128, 128, 3), vae=RandomVAE(), latent_size=latent)
    positive, negative, *_ = call(
        "ACN_AdvancedControlNetApply_v2",
        positive=prompt(POSITIVE),
        negative=prompt(NEGATIVE),
        control_net=call("ACN_ReferenceControlNet", **inputs),
        image=image,
    )
    return {"positive": positive, "negative": negative}


def ip_adapter(model: Any) -> Any:
    """IP-Adapter's base form with random weights of the narrow U-Net's width."""
    attention = {
        f"{2 * layer + 1}.to_{part}_ip.weight": random(CHANNELS, 768, seed=2 * layer + n) / math.sqrt(768)
        for layer in range(16)
        for n, part in enumerate("kv")
    }
    projection = {
        "proj.weight": random(4 * 768, 1024, seed=50) / 32,
        "proj.bias": torch.zeros(4 * 768),
        "norm.weight": torch.ones(768),
        "norm.bias": torch.zeros(768),
    }
    adapter = {"image_proj": projection, "ip_adapter": attention}
    embeds = {"pos_embed": random(1, 1, 1024, seed=51), "neg_embed": torch.zeros(1, 1, 1024)}
    patched, *_ = call("IPAdapterEmbeds", model=model, ipadapter=adapter, **embeds)
    return patched


@dataclass(frozen=True)
class Case:
    """What is tried of a pack. folder: its name on GitHub. prompts: makes inputs of the sampler, where they differ."""

    folder: str
    name: str
    patch: Patch = lambda model: model.clone()
    prompts: Callable[[], dict[str, Any]] = dict


TILES = {"tile_width": 64, "tile_height": 64, "tile_overlap": 0}
GUIDANCE = "sd-perturbed-attention"
CASES = [
    *(
        Case(
            "ComfyUI-TiledDiffusion",
            f"{method}, {n} tiles in a call",
            node("TiledDiffusion", method=method, tile_batch_size=n, **TILES),
        )
        for method in ("MultiDiffusion", "Mixture of Diffusers", "SpotDiffusion")
        for n in (1, 4)
    ),
    *(
        Case(
            "ComfyUI-Advanced-ControlNet",
            f"{kind}, fidelity {fidelity}",
            prompts=lambda kind=kind, fidelity=fidelity: reference_control(
                reference_type=kind, style_fidelity=fidelity
            ),
        )
        for kind, fidelity in (("reference_attn", 0.5), ("reference_attn", 0.0), ("reference_attn+adain", 1.0))
    ),
    *(
        Case("ComfyUI-AutomaticCFG", name.removeprefix("Automatic CFG - "), node(name))
        for name in ("Automatic CFG", "Automatic CFG - Excellent attention", "Automatic CFG - Warp Drive")
    ),
    Case(GUIDANCE, "Perturbed Attention Guidance", node("PerturbedAttention")),
    Case(GUIDANCE, "Smoothed Energy Guidance", node("SmoothedEnergyGuidanceAdvanced")),
    Case(
        GUIDANCE,
        "Sliding Window Guidance",
        node("SlidingWindowGuidanceAdvanced", tile_width=64, tile_height=64, tile_overlap=16, sigma_end=-1.0),
    ),
    Case("ComfyUI-Inspire-Pack", "HyperTile", node("HyperTile //Inspire", tile_size=64)),
    Case("ComfyUI_IPAdapter_plus", "IP-Adapter by embeds", ip_adapter),
    Case("RES4LYF", "ReSDPatcher", node("ReSDPatcher", enable=True)),
]


class Said(logging.Handler):
    """What the pack says."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("IMAGDressing: "):
            self.texts.add(text.removeprefix("IMAGDressing: "))


def row(case: Case, said: Said) -> tuple[str, ...]:
    """Return how a case holds: against hooks in both orders and at batch 2, weak, in two halves, and what is said."""
    model, inputs = narrow_model(), case.prompts()

    def patched(order: str, **garment: Any) -> Any:
        return (
            case.patch(apply_garment(model, **garment))
            if order == "after"
            else apply_garment(case.patch(model), **garment)
        )

    def sampled(patched_model: Any, batch: int = 1) -> Tensor:
        return sample(patched_model, batch, SIZE, **inputs)

    def by_hooks(batch: int = 1) -> Tensor:
        with wearing(model, narrow_garment(), 1.0, [prompt(POSITIVE)[0][0]]):
            return sampled(case.patch(model), batch)

    without, reference = sampled(case.patch(model)), by_hooks()
    said.texts.clear()
    errors = [relative_error(sampled(patched(order)), reference) for order in ("before", "after")]
    of_two = relative_error(sampled(patched("before"), 2), by_hooks(2))
    weak = relative_error(sampled(patched("before", strength=0.001)), without)
    spoken = bool(said.texts)
    left = torch.zeros(1, 8 * SIZE[0], 8 * SIZE[1])
    left[..., : 4 * SIZE[1]] = 1
    whole, *halves = (
        sampled(patched("before", strength=0.002, mask=mask)).double() - without for mask in (None, left, 1 - left)
    )
    halved = relative_error(halves[0] + halves[1], whole)
    mask = "left out, said" if said.texts and not spoken else f"{halved:.2g}"
    numbers = (relative_error(reference, without), *errors, of_two, weak)
    return case.name, *(f"{number:.1e}" for number in numbers), mask, "; ".join(sorted(said.texts)) or "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packs", type=Path, help="a folder of custom nodes")
    parser.add_argument("--only", default="", help="part of a pack's or a case's name")
    options = parser.parse_args()
    comfyui.start()
    server: Any = importlib.import_module("server")
    server.PromptServer(asyncio.new_event_loop())  # some packs add routes to it when they are loaded
    said = Said()
    logging.getLogger().addHandler(said)
    print(
        "| pack | case | garment's effect | vs hooks, before | after | batch 2 | λ = 0.001 | left + right mask | said |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for folder in sorted({case.folder for case in CASES if options.only in case.folder + case.name}):
        path = options.packs / folder
        if not path.is_dir():
            continue
        commit = subprocess.run(("git", "-C", path, "rev-parse", "--short", "HEAD"), capture_output=True, text=True)
        nodes = importlib.import_module("nodes")
        if not asyncio.run(nodes.load_custom_node(str(path))):
            print(f"| {folder} {commit.stdout.strip()} | does not load: see the log above |", flush=True)
            continue
        for case in (case for case in CASES if case.folder == folder and options.only in folder + case.name):
            try:
                with torch.inference_mode(), contextlib.redirect_stdout(None):
                    cells = row(case, said)
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                cells = (
                    case.name,
                    f"{type(error).__name__}: {str(error)[:90]} ({Path(where.filename).name}:{where.lineno})",
                )
            print("|", " | ".join((f"{folder} {commit.stdout.strip()}", *cells)), "|", flush=True)


if __name__ == "__main__":
    main()
