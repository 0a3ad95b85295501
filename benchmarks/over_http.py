"""The base workflow over HTTP, as users have it: dynamic VRAM, cudaMallocAsync and pinned memory; and otherwise.

``python benchmarks/over_http.py default no-dynamic novram fp8 bf16 edge edge-no-dynamic``: of each situation the
seconds of a plain image and of one with a garment, first and next, what ComfyUI's log says of memory, and the images.
"""

import argparse
import contextlib
import copy
import importlib.util
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch
from bench import DEVICE, Row, save
from PIL import Image
from support.comfyui_release import HOME
from support.comfyui_server import ComfyUIServer, Prompt, serving
from support.shipped_prompts import make_small, shipped_prompt

SITUATIONS: dict[str, tuple[str, ...]] = {
    "default": (),
    "no-dynamic": ("--disable-dynamic-vram",),
    "novram": ("--novram",),
    "fp8": ("--fp8_e4m3fn-unet",),
    "bf16": ("--bf16-unet",),
    "edge": (),
    "edge-no-dynamic": ("--disable-dynamic-vram",),
}
LEFT_FREE = 4.0  # gigabytes of the card, at the edge
LARGE = 2048  # a garment of that many pixels each way: K' and V' of 739 MB, and as much again while they are made
STEPS, STEPS_AT_THE_EDGE = 50, 10
TELLING = re.compile(
    r"DynamicVRAM|for dynamic|loaded (partially|completely)|Unloaded partially|OOM|out of memory|leak|Traceback"
)
IMAGES = Path(os.environ.get("GPU_IMAGES") or "artefacts/gpu/images")


@contextlib.contextmanager
def ballast(gigabytes_free: float) -> Iterator[None]:
    """Hold all of the card's memory but that much, in a process of its own."""
    code = (
        "import sys, time, torch; free, _ = torch.cuda.mem_get_info(); "
        "held = torch.empty(int(free - float(sys.argv[1]) * 2**30), dtype=torch.uint8, device='cuda'); "
        "print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(gigabytes_free)], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline().strip() != "held":
            raise RuntimeError("The card's memory could not be held, so the edge was not reached.")
        yield
    finally:
        process.kill()
        process.wait()


def prompts(server: ComfyUIServer, situation: str, tiny: bool) -> dict[str, Prompt]:
    """Return the shipped workflow with its garment, without one, and at the edge with a large one."""
    with_garment = shipped_prompt(server)
    kind = {node["class_type"]: key for key, node in with_garment.items()}
    if tiny:
        make_small(with_garment, width=64, height=80, steps=1)
    else:
        steps = STEPS_AT_THE_EDGE if situation.startswith("edge") else STEPS
        with_garment[kind["KSampler"]]["inputs"]["steps"] = steps
    plain = copy.deepcopy(with_garment)
    plain[kind["KSampler"]]["inputs"]["model"] = [kind["CheckpointLoaderSimple"], 0]
    found = {"plain": plain, "with a garment": with_garment}
    if situation.startswith("edge"):
        side, large = 128 if tiny else LARGE, copy.deepcopy(with_garment)
        large[kind["IMAGDressingEncodeGarment"]]["inputs"] |= {"width": side, "height": side}
        found[f"with a garment of {side}x{side}"] = large
    return found


def try_out(situation: str, tiny: bool) -> Iterator[Row]:
    """Make two images of each prompt: the first also loads, the next finds everything there."""
    held = contextlib.nullcontext()
    if situation.startswith("edge") and torch.cuda.is_available():
        held = ballast(LEFT_FREE)
    found: dict[str, numpy.ndarray] = {}
    seconds: dict[str, list[float]] = {}
    with held, serving(*SITUATIONS[situation], *_front_end(), "--disable-api-nodes") as server:
        for name, prompt in prompts(server, situation, tiny).items():
            for seed in (42, 43):
                next(node for node in prompt.values() if node["class_type"] == "KSampler")["inputs"]["seed"] = seed
                start = time.monotonic()
                result = server.run(prompt)
                if result.error:
                    print(f"Error {situation}, {name}: {result.error[:300]}", flush=True)
                    break
                seconds.setdefault(name, []).append(time.monotonic() - start)
                found[name] = numpy.asarray(
                    Image.open(io.BytesIO(server.image(result.images[0]))).convert("RGB"), float
                )
            if name in found:
                IMAGES.mkdir(parents=True, exist_ok=True)
                Image.fromarray(found[name].astype("uint8")).save(IMAGES / f"{situation}-{name.replace(' ', '-')}.jpg")
        memory = [line[:200] for line in server.log.read_text(errors="replace").splitlines() if TELLING.search(line)]
    print("\n".join(f"  {line}" for line in memory), flush=True)
    if {"plain", "with a garment"} <= found.keys():
        print(f"  the garment changes the image by {abs(found['with a garment'] - found['plain']).mean():.1f} of 255")
    whole = {name: taken for name, taken in seconds.items() if len(taken) == 2}
    for name, taken in whole.items():
        for which, one in zip(("first", "next"), taken, strict=True):
            base = whole["plain"][which == "next"] if name != "plain" and "plain" in whole else None
            yield Row(f"{which} image over HTTP, {name}, {situation}, {DEVICE}", one, "s", base)
    if len(whole) < len(found) or not found:
        raise RuntimeError(f"Not every image of {situation} was made.")


def _front_end() -> list[str]:
    """Return the flag for an empty editor where its package is not installed: nobody opens it here."""
    if importlib.util.find_spec("comfyui_frontend_package"):
        return []
    folder = HOME / "no_editor"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").touch()
    return ["--front-end-root", str(folder)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("situations", nargs="+", choices=SITUATIONS)
    parser.add_argument("--tiny", action="store_true", help="a step of a small image, to try this out on a CPU")
    given = parser.parse_args()
    failed = []
    for situation in given.situations:
        try:
            save("http", try_out(situation, given.tiny))
        except RuntimeError as error:
            failed.append(situation)
            print(f"Error {situation}: {str(error)[-2000:]}", flush=True)
    sys.exit(f"These situations failed: {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main()
