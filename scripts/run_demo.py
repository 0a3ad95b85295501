"""Dress the sample garment through the real ComfyUI: queue the shipped workflow over HTTP and save its picture."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from model_files import BASE_FILES, GARMENT, where_to_put
from sample_pictures import FOLDER as PICTURES
from support.comfyui_release import BASE, HOME, REPOSITORY, comfyui_path, comfyui_version_of, link_pack, prepare_base
from support.comfyui_server import ComfyUIServer, Prompt, serving
from support.synthetic_models import make_models

from imagdressing_core.baselines.workflow_api import api_form

WORKFLOW = REPOSITORY / "workflows" / "garment_to_person.json"
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
        make_models(prepare_base() / "models")
        return BASE
    base = HOME / "real"
    base.mkdir(parents=True, exist_ok=True)
    link_pack(base)
    (base / "models").unlink(missing_ok=True)
    (base / "models").symlink_to(models, target_is_directory=True)
    return base


def shipped_workflow(server: ComfyUIServer, path: Path = WORKFLOW, info: Mapping[str, Any] | None = None) -> Prompt:
    """Return a shipped workflow in API form, with its input pictures brought to ComfyUI.

    info: definitions of nodes that ComfyUI lacks.
    """
    prompt = api_form(json.loads(path.read_text()), server.get("/object_info") | (info or {}))
    for node in prompt.values():
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            server.upload(PICTURES / node["inputs"]["image"])
    return prompt


def make_small(prompt: Prompt, width: int = SMALL_WIDTH, height: int = SMALL_HEIGHT, steps: int = FEW_STEPS) -> None:
    """Change picture, garment and number of steps of a workflow in API form to what a CPU does quickly."""
    sizes = {"width": width, "height": height}
    changes = {"EmptyLatentImage": sizes, "IMAGDressingEncodeGarment": sizes, "KSampler": {"steps": steps}}
    for node in prompt.values():
        node["inputs"] |= changes.get(node["class_type"], {})


def main() -> None:
    models = real_models()
    base = demo_base(models)
    print(f"Starting ComfyUI {comfyui_version_of(comfyui_path())} …", flush=True)
    with serving(base=base) as server:
        prompt = shipped_workflow(server)
        if not torch.cuda.is_available():
            make_small(prompt)
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
