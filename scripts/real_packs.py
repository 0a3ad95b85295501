"""Hold the garment beside real packs of other people: ``make packs PACKS=/path/to/custom_nodes`` prints a table.

Whatever of ``support/real_pack_cases.py`` lies in that folder is loaded as ComfyUI loads it and patches the narrow
U-Net, before and after Apply Garment. Each image is compared with one where plain hooks add the term
(``support/plain_reference.py``).
"""

import argparse
import asyncio
import contextlib
import importlib
import logging
import subprocess
import traceback
from pathlib import Path
from typing import Any

import torch
from support import comfyui_process as comfyui
from support.narrow_unet import apply_garment, narrow_garment, narrow_model, sample
from support.parity import relative_error
from support.plain_reference import garment_by_hooks
from support.real_pack_cases import CASES, Case
from support.real_pack_nodes import SIZE, left_half
from torch import Tensor


class Said(logging.Handler):
    """What the pack says."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("IMAGDressing: "):
            self.texts.add(text.removeprefix("IMAGDressing: "))


COLUMNS = (
    "pack",
    "case",
    "its own effect",
    "the garment's",
    "vs hooks, before",
    "after",
    "one image more",
    "λ = 0.001",
    "left + right mask",
    "again",
    "said",
)


class Trial:
    """A case's MODEL, patched and sampled in every way that the table asks for."""

    def __init__(self, case: Case) -> None:
        narrow_model.cache_clear()  # some packs leave the model that they patched changed
        self.case, self.inputs, self.model = case, case.prompts(), narrow_model()

    def unloaded(self) -> Any:
        """Return the MODEL as it is. Some packs patch the modules of a loaded model, which may be patched already."""
        importlib.import_module("comfy.model_management").unload_all_models()
        return self.model

    def alone(self) -> Any:
        return self.case.patch(self.unloaded())

    def patched(self, order: str = "before", **garment: Any) -> Any:
        if order == "before":
            return apply_garment(self.alone(), **garment)
        return self.case.patch(apply_garment(self.unloaded(), **garment))

    def sampled(self, patched: Any, more: int = 0) -> Tensor:
        return self.case.sampled(patched, self.case.batch + more, **self.inputs)

    def own_effect(self) -> str:
        """Return how far the pack's image is from a plain KSampler's, where that has the same size."""
        plain, image = sample(self.unloaded(), self.case.batch, SIZE), self.sampled(self.alone())
        return f"{relative_error(image, plain):.1e}" if image.shape == plain.shape else "–"

    def by_hooks(self, more: int = 0) -> Tensor:
        with garment_by_hooks(self.model, narrow_garment(), 1.0, self.case.positive()):
            return self.sampled(self.alone(), more)


def row(case: Case, said: Said) -> tuple[str, ...]:
    """Return how a case holds: against hooks in both orders and at batch 2, weak, in two halves, and what is said."""
    trial = Trial(case)
    own, reference = trial.own_effect(), trial.by_hooks()
    without, plain = trial.sampled(trial.alone()), trial.sampled(trial.unloaded())  # some packs leave the model changed
    said.texts.clear()
    patched = trial.patched("before")
    before = trial.sampled(patched)
    again = "same"
    if not torch.equal(trial.sampled(patched), before) or not torch.equal(trial.sampled(trial.unloaded()), plain):
        alone = trial.alone()
        again = "differs" if torch.equal(trial.sampled(alone), trial.sampled(alone)) else "not by itself"
    after = trial.sampled(trial.patched("after"))
    try:
        reference_of_more = trial.by_hooks(1)
    except (RuntimeError, ValueError):  # the pack's own, with no garment in it
        more = "not by itself"
    else:
        more = f"{relative_error(trial.sampled(trial.patched(), 1), reference_of_more):.1e}"
    weak = relative_error(trial.sampled(trial.patched(strength=0.001)), without)
    spoken = bool(said.texts)
    masks = None, left_half(), 1 - left_half()
    whole, *halves = (trial.sampled(trial.patched(strength=0.002, mask=m)).double() - without for m in masks)
    mask = "left out, said" if said.texts and not spoken else f"{relative_error(halves[0] + halves[1], whole):.2g}"
    errors = (relative_error(image, reference) for image in (before, after))
    numbers = [f"{number:.1e}" for number in (relative_error(reference, without), *errors)]
    texts = "; ".join(sorted(said.texts)) or "–"
    return case.name, own, *numbers, more, f"{weak:.1e}", mask, again, texts


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
    print("|", " | ".join(COLUMNS), "|")
    print("|", " | ".join("---" for _ in COLUMNS), "|")
    for folder in dict.fromkeys(case.folder for case in CASES if options.only in case.folder + case.name):
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
