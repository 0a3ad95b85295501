"""Dress the sample garment through the real ComfyUI: queue the shipped workflow over HTTP and save its picture."""

import os
import time
from pathlib import Path

import torch
from support.comfyui_release import HOME, REPOSITORY, comfyui_path, comfyui_version_of, link_pack
from support.comfyui_server import serving
from support.shipped_prompts import WORKFLOW, make_small, shipped_prompt
from support.synthetic_models import synthetic_base

from imagdressing_core.files.official_files import BASE_FILES, GARMENT, where_to_put

ARTEFACTS = REPOSITORY / "artefacts"
# What a CPU does in seconds rather than many minutes.
SMALL_WIDTH, SMALL_HEIGHT, FEW_STEPS = 256, 320, 4


def real_models() -> Path | None:
    """Return the ``models`` folder of the user's own ComfyUI if it holds all that the workflow names."""
    if not os.environ.get("COMFYUI_PATH"):
        return None
    models = comfyui_path() / "models"
    return models if all((models / file.path).is_file() for file in BASE_FILES) else None


def demo_base(models: Path | None) -> Path:
    """Return a base directory for ComfyUI: with the user's models, or with synthetic ones."""
    if models is None:
        return synthetic_base()
    base = HOME / "real"
    base.mkdir(parents=True, exist_ok=True)
    link_pack(base)
    (base / "models").unlink(missing_ok=True)
    (base / "models").symlink_to(models, target_is_directory=True)
    return base


def main() -> None:
    models = real_models()
    base = demo_base(models)
    print(f"Starting ComfyUI {comfyui_version_of(comfyui_path())} …", flush=True)
    with serving(base=base) as server:
        prompt = shipped_prompt(server)
        if not torch.cuda.is_available():
            make_small(prompt, SMALL_WIDTH, SMALL_HEIGHT, FEW_STEPS)
            print(f"No GPU: {SMALL_WIDTH} × {SMALL_HEIGHT} in {FEW_STEPS} steps, not the official 512 × 640 in 50.")
        print(f"Queueing {WORKFLOW.relative_to(REPOSITORY)} …", flush=True)
        start = time.monotonic()
        result = server.run(prompt)
        if result.error:
            raise SystemExit(f"ComfyUI could not run the workflow: {result.error}")
        picture = ARTEFACTS / "demo.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(server.image(result.images[0]))
    print(f"\nThe picture, after {time.monotonic() - start:.0f} s: {picture}")
    if models is None:
        print(_where_real_models_come_from())


def _where_real_models_come_from() -> str:
    return (
        "\nIt shows coloured noise, because its models are SYNTHETIC: random numbers in the official formats.\n"
        "It proves that the pack works in ComfyUI, not how a garment looks. For real pictures, put these\n"
        f"files into your ComfyUI and run `COMFYUI_PATH=/path/to/ComfyUI make demo`:\n{where_to_put(BASE_FILES)}\n"
        f"{GARMENT.name} may be used for non-commercial research only."
    )


if __name__ == "__main__":
    main()
