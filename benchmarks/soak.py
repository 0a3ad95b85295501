"""Hundreds of prompts in one running ComfyUI: is memory flat, is nothing left behind, are equal prompts equal images?

``make soak SECONDS=600``. Each prompt is one of a pool whose members differ in
garments, their sizes and fits, masks, strengths, windows, layers, batches, image sizes, in the order of the nodes,
and in whether there is a garment at all. Ends with status 1 if an image differs from the last of the same prompt, a
prompt fails, or more memory or open files stay than is allowed.
"""

import argparse
import hashlib
import json
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import requests
from scipy.stats import theilslopes
from support.comfyui_release import BASE, REPOSITORY
from support.comfyui_server import ComfyUIServer, Prompt, serving
from support.shipped_prompts import IMAGES as FOLDER
from support.synthetic_models import synthetic_base

from imagdressing_core.files import official_files

RESULT = REPOSITORY / "benchmarks" / "results" / "soak.json"
WINDOW = 25  # prompts of which the fewest open files count: what is open for a moment goes, a file left open stays
IMAGES = ("imagdressing_shirt.png", "imagdressing_trousers.png")
# What is freed goes back to the system: glibc keeps it otherwise, more of it from time to time, and the growth measured
# would be the allocator's and not the pack's.
ALLOCATOR = ("env", "MALLOC_ARENA_MAX=2", "MALLOC_TRIM_THRESHOLD_=131072", "MALLOC_MMAP_THRESHOLD_=1048576")
# Saved before, as a wardrobe: (image, fit, width, height).
GARMENTS = ((0, "official", 64, 80), (0, "crop", 96, 64), (1, "pad", 64, 80), (1, "official", 72, 72))
GARMENT = "soak/garment"


def variant(choose: Random) -> Prompt:
    """Return a prompt in API form. All loaders are in all of them, so that ComfyUI keeps what they loaded."""
    prompt = {
        "checkpoint": _node("CheckpointLoaderSimple", ckpt_name=official_files.DENOISING.name),
        "vae": _node("VAELoader", vae_name=official_files.VAE.name),
        "vision": _node("CLIPVisionLoader", clip_name=official_files.CLIP_VISION.name),
        "imagdressing": _node("IMAGDressingModelLoader", model_name=official_files.GARMENT.name),
        "positive": _node("CLIPTextEncode", clip=["checkpoint", 1], text="a woman"),
        "negative": _node("CLIPTextEncode", clip=["checkpoint", 1], text="naked"),
        "mask": _node("SolidMask", value=choose.choice((0.5, 1.0)), width=24, height=32),
    }
    for i, file in enumerate(IMAGES):
        prompt[f"image {i}"] = _node("LoadImage", image=file)
    encoded = choose.choice(GARMENTS) if not choose.randrange(6) else None
    for i in range(2):
        name = f"{GARMENT}_{choose.randrange(len(GARMENTS)) + 1:05}.safetensors"
        prompt[f"garment {i}"] = _node("IMAGDressingLoadGarment", garment_name=name)
    if encoded:
        prompt["garment 0"] = encode(*encoded)
    prompt["both"] = _node("IMAGDressingJoinGarments", garment_1=["garment 0", 0], garment_2=["garment 1", 0])

    chain = [_applied(choose) for _ in range(choose.choice((0, 1, 1, 2, 3)))]
    others = [_node("PerturbedAttentionGuidance", scale=2.0), _node("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2)]
    chain += choose.sample(others, choose.choice((0, 0, 1, 2)))
    choose.shuffle(chain)
    model = ["checkpoint", 0]
    for i, node in enumerate(chain):
        node["inputs"]["model"] = model
        prompt[f"patch {i}"] = node
        model = [f"patch {i}", 0]

    width, height, batch = choose.choice(((64, 80, 1), (80, 64, 1), (64, 64, 2)))
    prompt["latent"] = _node("EmptyLatentImage", width=width, height=height, batch_size=batch)
    sampling: dict[str, Any] = {"seed": choose.randrange(1000), "steps": 1, "cfg": 4.0, "denoise": 1.0}
    sampling |= {"sampler_name": choose.choice(("euler", "ddim")), "scheduler": "normal"}
    links = {"positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0]}
    prompt["sampler"] = _node("KSampler", model=model, **sampling, **links)
    prompt["decode"] = _node("VAEDecode", samples=["sampler", 0], vae=["vae", 0])
    prompt["save"] = _node("SaveImage", images=["decode", 0], filename_prefix="soak")
    return prompt


def _applied(choose: Random) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "garment": [choose.choice(("garment 0", "garment 1", "both")), 0],
        "strength": choose.choice((0.0, 0.5, 1.0, 1.3)),
        "start_percent": choose.choice((0.0, 0.0, 0.3)),
        "end_percent": choose.choice((1.0, 1.0, 0.7)),
    }
    if choose.randrange(2):
        inputs["mask"] = ["mask", 0]
    if choose.randrange(2):
        return _node("IMAGDressingApply", **inputs)
    inputs |= {
        "layers": choose.choice(("all", "texture", "0:1, 5:0.5")),
        "branches": choose.choice(("conditional", "both")),
    }
    inputs |= {
        "batch": choose.choice(("broadcast", "one per image")),
        "schedule": choose.choice(("constant", "ease in")),
    }
    return _node("IMAGDressingApplyAdvanced", **inputs)


def encode(number: int, fit: str, width: int, height: int) -> dict[str, Any]:
    links = {"imagdressing": ["imagdressing", 0], "vae": ["vae", 0], "clip_vision": ["vision", 0]}
    links |= {"image": [f"image {number}", 0]}
    return _node("IMAGDressingEncodeGarment", fit=fit, width=width, height=height, drop_background=False, **links)


def save_garments(server: ComfyUIServer) -> None:
    """Encode and save the wardrobe that the prompts load from."""
    for number, garment in enumerate(GARMENTS):
        prompt = variant(Random(0)) | {"garment 0": encode(*garment)}
        kept = ("vae", "vision", "imagdressing", "garment 0", *(f"image {i}" for i in range(len(IMAGES))))
        saving = {key: node for key, node in prompt.items() if key in kept}
        saving["save"] = _node("IMAGDressingSaveGarment", garment=["garment 0", 0], filename_prefix=GARMENT)
        saved = server.run(saving)
        if saved.error:
            sys.exit(f"Garment {number} could not be saved: {saved.error}")


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@dataclass
class Soak:
    """What was seen so far. megabytes: of ComfyUI's memory after each prompt, as the system counts it."""

    server: ComfyUIServer
    prompts: list[Prompt]
    images: dict[int, str] = field(default_factory=dict)
    megabytes: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    repeated: int = 0

    def run(self, number: int) -> None:
        """Queue one prompt of the pool and compare its images with those it made before."""
        prompt = self.prompts[number]
        prompt_id = self.server.queue(prompt)
        if not isinstance(prompt_id, str):
            sys.exit(f"Prompt {number} was refused: {prompt_id.error}")
        result = self.server.wait(prompt, prompt_id)
        if result.error or not result.images:
            sys.exit(f"Prompt {number} failed: {result.error}")
        made = hashlib.sha256(b"".join(self._pixels(image) for image in result.images)).hexdigest()
        if self.images.setdefault(number, made) != made:
            sys.exit(f"Prompt {number} made another image than before.")
        # What ComfyUI itself remembers of every prompt, and the images on disk, are no leak of anybody's.
        requests.post(f"{self.server.url}/history", json={"delete": [prompt_id]}, timeout=60)
        for image in result.images:
            (BASE / "output" / image["subfolder"] / image["filename"]).unlink()
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        self.megabytes.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)
        self.files.append(len(list(Path(f"/proc/{self.server.pid}/fd").iterdir())))

    def _pixels(self, image: dict[str, str]) -> bytes:
        import io

        from PIL import Image

        return Image.open(io.BytesIO(self.server.image(image))).tobytes()  # the file itself also holds the workflow


def slope_per_100(values: list[float]) -> float:
    """Return how much a value grows in 100 prompts: the median over all pairs, which no passing dip can move."""
    found: Any = theilslopes(values)
    return 100 * found.slope


def soak(prompts: int, seconds: float, different: int, limit: float, seed: int) -> dict[str, Any]:
    choose = Random(seed)
    base = synthetic_base()
    garments = base / "models" / "imagdressing_garments"
    with serving(base=base, prefix=ALLOCATOR) as server:
        for file in IMAGES:
            server.upload(FOLDER / file)
        save_garments(server)
        pool = [variant(Random(seed + 1 + i)) for i in range(different)]
        seen = Soak(server, pool)
        start, last = time.monotonic(), -1
        # Every prompt once, to warm up; then any, but none twice in a row, which ComfyUI skips.
        order = list(range(different))
        while len(seen.megabytes) < prompts and time.monotonic() - start < seconds:
            number = order.pop(0) if order else choose.choice([i for i in range(different) if i != last])
            seen.repeated += number in seen.images
            seen.run(number)
            last = number
            if len(seen.megabytes) % 25 == 0:
                print(len(seen.megabytes), f"{seen.megabytes[-1]:.1f} MB, {seen.files[-1]} files", flush=True)
        for file in garments.glob(f"{GARMENT}_*"):
            file.unlink()
    if len(seen.megabytes) < different + 2:
        sys.exit(f"Too short: {different} prompts warm up, and only {len(seen.megabytes)} were made.")
    flat, files = seen.megabytes[different:], seen.files[different:]
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "prompts": len(seen.megabytes),
        "different_prompts": len(seen.images),
        "repeated_prompts_with_equal_images": seen.repeated,
        "warm_up_prompts": different,
        "megabytes_after_warm_up": round(flat[0], 1),
        "megabytes_at_the_end": round(flat[-1], 1),
        "megabytes_per_100_prompts": round(slope_per_100(flat), 3),
        "limit_megabytes_per_100_prompts": limit,
        "megabytes_after_each_prompt": [round(one) for one in seen.megabytes],
        "open_files_after_warm_up": min(files[:WINDOW]),
        "open_files_at_the_end": min(files[-WINDOW:]),
        "seconds": round(time.monotonic() - start),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--prompts", type=int, default=10**9)
    arguments.add_argument("--seconds", type=float, default=86_400.0)
    arguments.add_argument("--different", type=int, default=40, help="how many prompts there are to choose from")
    arguments.add_argument(
        "--limit",
        type=float,
        default=1.0,
        help="megabytes that memory may grow in 100 prompts; a few dozen prompts cannot tell less than about 100",
    )
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--record", action="store_true", help=f"write {RESULT.relative_to(REPOSITORY)}")
    given = arguments.parse_args()
    result = soak(given.prompts, given.seconds, given.different, given.limit, given.seed)
    print(json.dumps(result | {"megabytes_after_each_prompt": "…"}, indent=2, ensure_ascii=False))
    if given.record:
        RESULT.write_text(json.dumps(result) + "\n")
    if (
        result["megabytes_per_100_prompts"] > given.limit
        or result["open_files_at_the_end"] > result["open_files_after_warm_up"]
    ):
        sys.exit("Memory or files are left behind.")


if __name__ == "__main__":
    main()
