"""The images that help pages show: from runs of the templates in the real ComfyUI, on the small models.

Fits and the garment's mask need no models: the functions that *Encode Garment* calls make them.
``python -m demo.help_pages`` writes all into ``web/docs/images``.
"""

import dataclasses
from collections.abc import Sequence

from PIL import Image
from support.comfyui_release import REPOSITORY
from support.comfyui_server import ComfyUIServer, Prompt, serving
from support.shipped_prompts import IMAGES, shipped_prompt

from imagdressing_core.images.preprocess import (
    fit_crop,
    fit_official,
    fit_pad,
    images_from_tensor,
    preview,
    tensor_from_images,
)

from . import samples, world
from .__main__ import GARMENT_IMAGE, changed, demo_base, run
from .thumbnails import START, TRIED, WORKFLOWS, small, white

FOLDER = REPOSITORY / "web" / "docs" / "images"
HEIGHT, GAP, BACKGROUND = 213, 10, (30, 30, 30)
STRENGTHS = (0.0, 0.5, 1.0)


def save_row(name: str, images: Sequence[Image.Image]) -> None:
    """Save images side by side, at one height."""
    row = [
        image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS) for image in images
    ]
    whole = Image.new("RGB", (sum(image.width + GAP for image in row) - GAP, HEIGHT), BACKGROUND)
    left = 0
    for image in row:
        whole.paste(image, (left, 0))
        left += image.width + GAP
    whole.save(FOLDER / name, optimize=True, quality=88)


def sample(name: str) -> Image.Image:
    """Return one of the images that the workflows start from, on white where it is transparent."""
    return white(Image.open(IMAGES / name))


def fits() -> None:
    """Show what each ``fit`` makes of a photo that is wider than high, with the frame that CLIP sees."""
    photo = sample("imagdressing_worn.png").crop((0, 100, 512, 500))
    save_row(
        "fits.png",
        [preview(fit(photo, 512, 640)).crop((0, 0, 512, 640)) for fit in (fit_official, fit_pad, fit_crop)],
    )


def garment_mask() -> None:
    """Show a worn garment, its mask, and what *Encode Garment* then reads."""
    photo = sample("imagdressing_worn.png")
    worn = dataclasses.replace(samples.SOMEBODY, shirt=samples.SHIRT)
    mask = world.mask(worn, "shirt", photo.width)
    marked = tensor_from_images([mask.convert("RGB")])[..., 0]
    [read] = images_from_tensor(tensor_from_images([photo]), marked)
    save_row("garment_mask.png", [photo, mask.convert("RGB"), read])


def strengths(server: ComfyUIServer) -> None:
    """Show a garment, and the same image at several strengths."""
    prompt = small(shipped_prompt(server, WORKFLOWS / f"{START}.json"))
    made = [run(server, changed(prompt, "IMAGDressingApply", strength=strength))[0] for strength in STRENGTHS]
    save_row("strengths.jpg", [sample(GARMENT_IMAGE), *made])


def heat_map(server: ComfyUIServer) -> None:
    """Show an image, and where the garment acts in it."""
    prompt = small(shipped_prompt(server, WORKFLOWS / f"{START}.json"))
    save_row("heat_map.jpg", [run(server, one)[0] for one in (prompt, with_heat_map(prompt))])


def with_heat_map(prompt: Prompt) -> Prompt:
    """Return a prompt that saves the heat map of its image instead."""
    at = {node["class_type"]: key for key, node in prompt.items()}
    sampler, saved = prompt[at["KSampler"]]["inputs"], prompt[at["SaveImage"]]["inputs"]
    inputs = {name: sampler[name] for name in ("model", "positive")}
    inputs |= {"samples": [at["KSampler"], 0], "image": saved["images"], "layers": "all", "steps": 4}
    heat = {"heat": {"class_type": "IMAGDressingHeatMap", "inputs": inputs}}
    return changed(prompt, "SaveImage", images=["heat", 0]) | heat


def try_on(server: ComfyUIServer) -> None:
    """Show a photo, the mask painted on it, and the photo after *Paste Back*."""
    [made] = run(server, small(shipped_prompt(server, WORKFLOWS / f"{TRIED}.json")))
    with Image.open(IMAGES / "imagdressing_person.png") as photo:
        painted = photo.getchannel("A").point(lambda alpha: 255 - alpha)
        save_row("try_on.jpg", [photo.convert("RGB"), painted.convert("RGB"), made])


def main() -> None:
    fits()
    garment_mask()
    with serving(base=demo_base(None)) as server:
        strengths(server)
        heat_map(server)
        try_on(server)


if __name__ == "__main__":
    main()
