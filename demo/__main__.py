"""Dress somebody through the real ComfyUI, and look: in the garment, without it, in another one; always the same seed.

``python -m demo`` queues a shipped workflow over HTTP. The models are the user's own, or the small ones of this folder.
"""

import io
import os
import time
from pathlib import Path

import torch
from PIL import Image
from support.comfyui_release import HOME, REPOSITORY, comfyui_path, comfyui_version_of, link_pack
from support.comfyui_server import ComfyUIServer, Prompt, serving
from support.shipped_prompts import IMAGES, WORKFLOW, make_small, shipped_prompt

from imagdressing_core.files.official_files import BASE_FILES, GARMENT, where_to_put

from . import data, drawing, measure, models

ARTEFACTS = REPOSITORY / "artefacts"
SIZE = (256, 320)  # of the small models' images, and what the user's own do on a CPU in minutes
# In words that the small models know.
TEXT = "A woman with brown hair, standing in the park, best quality, high quality"
GARMENT_IMAGE, OTHER_IMAGE = "imagdressing_shirt.png", "imagdressing_other_shirt.png"


def real_models() -> Path | None:
    """Return the ``models`` folder of the user's own ComfyUI if it holds all that the workflow names."""
    if not os.environ.get("COMFYUI_PATH"):
        return None
    folder = comfyui_path() / "models"
    return folder if all((folder / file.path).is_file() for file in BASE_FILES) else None


def demo_base(real: Path | None) -> Path:
    """Return a base directory for ComfyUI: with the user's models, or with the small ones in the official formats."""
    base = HOME / ("real" if real else "drawn")
    for folder in ("input", "output", "user"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    link_pack(base)
    if real is None:
        models.make_models(base / "models")
    else:
        (base / "models").unlink(missing_ok=True)
        (base / "models").symlink_to(real, target_is_directory=True)
    return base


def other_garment(folder: Path) -> Path:
    """Draw a shirt that nobody wore in the small models' training; return its file."""
    path = folder / OTHER_IMAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.garment_image(data.drawn(0, "unseen").shirt, 768).save(path)
    return path


def changed(prompt: Prompt, class_type: str, **inputs: object) -> Prompt:
    """Return a prompt with other inputs in the nodes of this type."""
    return {
        key: node | {"inputs": node["inputs"] | inputs} if node["class_type"] == class_type else node
        for key, node in prompt.items()
    }


def with_text(prompt: Prompt, text: str) -> Prompt:
    """Return a prompt whose sampler is asked for ``text``."""
    sampler = next(node for node in prompt.values() if node["class_type"] == "KSampler")
    positive, _ = sampler["inputs"]["positive"]
    return prompt | {positive: prompt[positive] | {"inputs": prompt[positive]["inputs"] | {"text": text}}}


def run(server: ComfyUIServer, prompt: Prompt) -> list[Image.Image]:
    """Return the images that a prompt saves.

    Raises:
        SystemExit: ComfyUI could not run it.
    """
    result = server.run(prompt)
    if result.error:
        raise SystemExit(f"ComfyUI could not run the workflow: {result.error}")
    return [Image.open(io.BytesIO(server.image(image))).convert("RGB") for image in result.images]


def main() -> None:
    real = real_models()
    base = demo_base(real)
    print(f"Starting ComfyUI {comfyui_version_of(comfyui_path())} …", flush=True)
    with serving(base=base) as server:
        prompt = shipped_prompt(server)
        if real is None:
            make_small(prompt, *SIZE, measure.STEPS)
            prompt = with_text(changed(prompt, "KSampler", cfg=measure.GUIDANCE), TEXT)
            print(f"The small models: {SIZE[0]} × {SIZE[1]}, {measure.STEPS} steps, cfg {measure.GUIDANCE}.")
        elif not torch.accelerator.is_available():
            make_small(prompt, *SIZE, measure.STEPS)
            print(f"No GPU: {SIZE[0]} × {SIZE[1]} in {measure.STEPS} steps, not the official 512 × 640 in 50.")
        other = other_garment(ARTEFACTS)
        server.upload(other)
        prompts = {
            "with the garment": prompt,
            "without": changed(prompt, "IMAGDressingApply", strength=0.0),
            "with another": changed(prompt, "LoadImage", image=OTHER_IMAGE),
        }
        print(f"Queueing {WORKFLOW.relative_to(REPOSITORY)}, {len(prompts)} times …", flush=True)
        start = time.monotonic()
        made = {name: run(server, one)[0] for name, one in prompts.items()}
    garment, another = Image.open(IMAGES / GARMENT_IMAGE).convert("RGB"), Image.open(other)
    row = [garment, made["with the garment"], made["without"], another, made["with another"]]
    titles = ["garment", "with the garment", "without", "another garment", "with another"]
    measure.sheet([[one.resize(SIZE, Image.Resampling.LANCZOS) for one in row]], titles).save(ARTEFACTS / "demo.png")
    print(f"\nThe images, after {time.monotonic() - start:.0f} s: {ARTEFACTS / 'demo.png'}")
    if real is None:
        print(_where_real_models_come_from())


def _where_real_models_come_from() -> str:
    return (
        "\nThese are SMALL models of flat drawn people, trained by this repository (demo/README.md), in the official\n"
        "formats: they show that the garment arrives, not how IMAGDressing's images look. For those, put these files\n"
        f"into your ComfyUI and run `COMFYUI_PATH=/path/to/ComfyUI make demo`:\n{where_to_put(BASE_FILES)}\n"
        f"{GARMENT.name} may be used for non-commercial research only."
    )


if __name__ == "__main__":
    main()
