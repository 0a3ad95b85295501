"""The same images through the real ComfyUI: its loaders, this pack's nodes and its sampler, on the widened files.

``python -m demo.comfyui MODELS FOLDER`` scores them as ``demo.measure`` does. MODELS is a folder that ``demo.models``
filled. Needs ``tests`` on the path for ComfyUI itself.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy
import torch
from PIL import Image
from support import comfyui_process as comfyui
from torch import Tensor

from imagdressing_core.files.official_files import CLIP_VISION, DENOISING, GARMENT, VAE

from . import data, drawing, measure, world

SAMPLER = {"sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}


class ComfyUI:
    """The demo's models, loaded by ComfyUI's and the pack's own nodes."""

    def __init__(self, folder: Path, dtype: str = "default") -> None:
        """dtype: in which the U-Net computes, as *Model Compute Dtype* names it; by default ComfyUI's own choice."""
        comfyui.start()
        import folder_paths

        for name in ("checkpoints", "vae", "clip_vision", "controlnet", "imagdressing"):
            folder_paths.add_model_folder_path(name, str(folder / name), is_default=True)
        loaded, self.clip, _ = comfyui.call("CheckpointLoaderSimple", ckpt_name=DENOISING.name)
        self.model = comfyui.call("ModelComputeDtype", model=loaded, dtype=dtype)
        self.vae = comfyui.call("VAELoader", vae_name=VAE.name)
        self.clip_vision = comfyui.call("CLIPVisionLoader", clip_name=CLIP_VISION.name)
        self.imagdressing = comfyui.call("IMAGDressingModelLoader", model_name=GARMENT.name)

    def make(
        self,
        people: Sequence[world.Person],
        clothes: Sequence[drawing.Cloth] | None,
        width: int = data.WIDTH,
        steps: int = measure.STEPS,
        **applied: Any,
    ) -> list[Image.Image]:
        """Return an image of each person's caption, in the clothes given, from ``measure.make``'s noise.

        applied: inputs of *Apply Garment*: strength, mask, …
        """
        worn = clothes or [None] * len(people)
        return [
            self.make_one(person, cloth, number, width, steps, **applied)
            for number, (person, cloth) in enumerate(zip(people, worn, strict=True))
        ]

    def make_one(
        self, person: world.Person, cloth: drawing.Cloth | None, number: int, width: int, steps: int, **applied: Any
    ) -> Image.Image:
        """Return an image of a person's caption, in a cloth if one is given. number: see ``latent``'s noise."""
        model = self.with_garment(None if cloth is None else self.garment(cloth, width), **applied)
        return self.sample(model, world.caption(person), width, steps, noise=number)[0]

    def sample(
        self, model: Any, text: str, width: int, steps: int = measure.STEPS, noise: int = 0, batch: int = 1
    ) -> list[Image.Image]:
        """Return the images that ComfyUI's sampler makes of a prompt."""
        latent = self.latent(model, text, width, steps, noise, batch)
        return [as_image(one) for one in comfyui.call("VAEDecode", samples=latent, vae=self.vae)]

    def latent(
        self, model: Any, text: str, width: int, steps: int = measure.STEPS, noise: int = 0, batch: int = 1
    ) -> Any:
        """Return the LATENT that ComfyUI's sampler makes of a prompt.

        noise: the first image's place in a large batch of ``measure.SEED``.
        """
        positive, negative = (comfyui.call("CLIPTextEncode", clip=self.clip, text=one) for one in (text, ""))
        (rows, columns) = (round(width * drawing.ASPECT) // data.CELL, width // data.CELL)
        empty = torch.zeros(batch, data.LATENT_CHANNELS, rows, columns)
        return comfyui.call(
            "KSampler",
            model=model,
            positive=positive,
            negative=negative,
            latent_image={"samples": empty, "batch_index": list(range(noise, noise + batch))},
            seed=measure.SEED,
            steps=steps,
            cfg=measure.GUIDANCE,
            **SAMPLER,
        )

    def garment(self, cloth: drawing.Cloth, width: int) -> Any:
        """Return the GARMENT that is read from a drawing."""
        return comfyui.call(
            "IMAGDressingEncodeGarment",
            imagdressing=self.imagdressing,
            vae=self.vae,
            clip_vision=self.clip_vision,
            image=as_tensor(drawing.garment_image(cloth, width)),
            fit="official",
            width=width,
            height=round(width * drawing.ASPECT),
        )

    def with_garment(self, garment: Any, model: Any = None, **applied: Any) -> Any:
        """Return a MODEL, by default the loaded one, with a garment applied; with None, as it is."""
        model = model or self.model
        if garment is None:
            return model
        inputs = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | applied
        return comfyui.call("IMAGDressingApply", model=model, garment=garment, **inputs)


def as_tensor(image: Image.Image) -> Tensor:
    """Return an image as ComfyUI's IMAGE, (1, height, width, 3), 0 … 1."""
    return torch.from_numpy(numpy.array(image)).float()[None] / 255


def as_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels.float().cpu() * 255).round().clamp(0, 255).to(torch.uint8).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument(
        "folder", type=Path, help="of these models alone: the scores and all images; an image there is kept"
    )
    parser.add_argument("--width", type=int, default=data.WIDTH)
    parser.add_argument("--people", type=int, default=measure.UNSEEN)
    parser.add_argument("--dresses", nargs="+", choices=measure.DRESSES, default=measure.DRESSES)
    parser.add_argument("--dtype", default="default", help="bf16 is faster on processors that have it")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        host = ComfyUI(arguments.models, arguments.dtype)

        def make(people: Sequence[world.Person], clothes: Sequence[drawing.Cloth] | None) -> list[Image.Image]:
            made: list[Image.Image] = []
            for number, person in enumerate(people):
                cloth = clothes[number] if clothes else None
                what = repr((cloth, arguments.width, arguments.dtype))
                path = arguments.folder / f"{number:02}-{crc32(what.encode()):08x}.png"
                if not path.exists():
                    host.make_one(person, cloth, number, arguments.width, measure.STEPS).save(path)
                made.append(Image.open(path))
            return made

        scores = measure.report(make, arguments.folder, arguments.people, arguments.dresses)
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
