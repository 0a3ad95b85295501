"""IMAGDressing and MagicClothing, made by a running ComfyUI with this pack in it."""

import contextlib
import copy
import hashlib
import io
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import IMAGDressingError, packages
from .comfyui_client import ComfyUI
from .recipe import Order
from .workflow_api import Prompt, api_form

with packages("Speaking to ComfyUI"):
    import requests

WORKFLOWS = {  # the pack's templates with the official constants, by what the images follow besides the garment
    (): "Dress a person, node by node",
    ("pose",): "5 Dress in a pose",
    ("pose", "face"): "A face and a pose (needs another pack)",
}
SAMPLED = {"pose": "ControlNetApplyAdvanced", "face": "IPAdapterFaceID"}  # the node that takes the image of each
URL = "http://127.0.0.1:8188"
ENCODE, SAMPLER, LATENT = "IMAGDressingEncodeGarment", "KSampler", "EmptyLatentImage"

MAGIC_CLOTHING = "magic_clothing_768_vitonhd_joint.safetensors"
MAGIC_CLOTHING_NEGATIVE = "bare, monochrome, lowres, bad anatomy, worst quality, low quality"
MAGIC_CLOTHING_SIZE = {"width": 576, "height": 768}


@dataclass(frozen=True)
class Slot:
    """The input of a node that differs from image to image."""

    node: str
    input: str


@dataclass(frozen=True)
class WorkflowRecipe:
    """A workflow in API form, whose slots are filled for each image.

    Attributes:
        files: The slots of the garment and of whatever else the method reads, by their names in :class:`Order`.
    """

    batch = 1

    name: str
    comfyui: ComfyUI
    workflow: Prompt
    files: dict[str, Slot]
    prompt: Slot
    seed: Slot
    versions: dict[str, str]

    @property
    def needs(self) -> list[str]:
        return [part for part in self.files if part != "garment"]

    @property
    def settings(self) -> dict[str, Any]:
        return {"workflow": self.workflow}

    @property
    def weights(self) -> dict[str, str]:
        """The model files that the workflow names, by the input that names them."""
        inputs = [item for node in self.workflow.values() for item in node["inputs"].items()]
        return {name: value for name, value in inputs if name.endswith("_name") and "." in str(value)}

    def images(self, orders: Sequence[Order]) -> list[Image.Image]:
        return [self.image(order) for order in orders]

    def image(self, order: Order) -> Image.Image:
        """Make the image of an order.

        Raises:
            IMAGDressingError: ComfyUI does not answer, or cannot run the workflow.
        """
        workflow = copy.deepcopy(self.workflow)

        def fill(slot: Slot, value: str | int) -> None:
            workflow[slot.node]["inputs"][slot.input] = value

        fill(self.prompt, order.text)
        fill(self.seed, order.seed)
        for node in workflow.values():
            # A new prefix each time: ComfyUI caches SaveImage and reports no images for a cached node.
            if node["class_type"] == "SaveImage":
                node["inputs"]["filename_prefix"] = f"imagdressing-{uuid.uuid4().hex}"
        with _speaking(self.comfyui):
            for part, slot in self.files.items():
                fill(slot, _uploaded(self.comfyui, getattr(order, part)))
            result = self.comfyui.run(workflow)
            if result.error is not None or not result.images:
                raise IMAGDressingError(f"{order.garment.name}: ComfyUI made no image. {result.error or ''}")
            return Image.open(io.BytesIO(self.comfyui.image(result.images[0]))).convert("RGB")


def imagdressing(url: str = URL, checkpoint: str | None = None, follows: Sequence[str] = ()) -> WorkflowRecipe:
    """IMAGDressing by a shipped workflow.

    Args:
        url: The address of ComfyUI.
        follows: What the images follow besides the garment, a key of ``WORKFLOWS``.
        checkpoint: The name of an own file in ``models/imagdressing``, such as one of the paper's ablation.

    Raises:
        IMAGDressingError: no ComfyUI answers there, or this pack is not installed in it.
    """
    comfyui, workflow = _shipped_workflow(url, follows)
    encode, sampler = _only(workflow, ENCODE), _only(workflow, SAMPLER)
    if checkpoint is not None:
        workflow[_source(workflow, encode, "imagdressing")]["inputs"]["model_name"] = checkpoint
    return WorkflowRecipe(
        "IMAGDressing-v1",
        comfyui,
        workflow,
        files=_files(workflow, follows),
        prompt=Slot(_text(workflow, sampler, "positive"), "text"),
        seed=Slot(sampler, "seed"),
        versions=_versions(comfyui),
    )


def magic_clothing(url: str = URL, checkpoint: str = MAGIC_CLOTHING, follows: Sequence[str] = ()) -> WorkflowRecipe:
    """MagicClothing by the same nodes, with its own constants and its guidance of three branches.

    Args:
        url: The address of ComfyUI.
        checkpoint: The name of a file of the 768 joint kind in ``models/imagdressing``.
        follows: As :func:`imagdressing`.

    Source: MagicClothing's gradio_generate.py and pipelines/OmsDiffusionPipeline.py.

    Raises:
        IMAGDressingError: as :func:`imagdressing`.
    """
    comfyui, workflow = _shipped_workflow(url, follows)
    encode, sampler = _only(workflow, ENCODE), _only(workflow, SAMPLER)
    prompt, bare = _text(workflow, sampler, "positive"), _text(workflow, sampler, "negative")
    plain = workflow[sampler]["inputs"]
    model, positive, negative = plain["model"], plain["positive"], plain["negative"]
    workflow[_source(workflow, encode, "imagdressing")]["inputs"]["model_name"] = checkpoint
    clip = workflow[prompt]["inputs"]["clip"]
    workflow[encode]["inputs"] |= {"clip": clip, "mask": ["mask", 0], **MAGIC_CLOTHING_SIZE}
    workflow[_only(workflow, LATENT)]["inputs"] |= MAGIC_CLOTHING_SIZE
    workflow[bare]["inputs"]["text"] = MAGIC_CLOTHING_NEGATIVE
    # ε_u + 7.5 (ε_text − ε_cloth) + 2.5 (ε_cloth − ε_u); ε_cloth, of cond2, has the negative prompt and the garment.
    guidance = {"cfg_conds": 7.5, "cfg_cond2_negative": 2.5, "style": "regular"}
    branches = {"model": model, "cond1": positive, "cond2": negative, "negative": negative}
    workflow |= {
        "mask": _node("LoadImageMask", image="", channel="red"),
        "noise": _node("RandomNoise", noise_seed=0),
        "guider": _node("DualCFGGuider", **branches, **guidance),
        "unipc": _node("KSamplerSelect", sampler_name="uni_pc"),
        "sigmas": _node("BasicScheduler", model=model, scheduler="normal", steps=20, denoise=1.0),
        sampler: _node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["unipc", 0],
            sigmas=["sigmas", 0],
            latent_image=plain["latent_image"],
        ),
    }
    return WorkflowRecipe(
        "MagicClothing",
        comfyui,
        workflow,
        files={**_files(workflow, follows), "garment_mask": Slot("mask", "image")},
        prompt=Slot(prompt, "text"),
        seed=Slot("noise", "noise_seed"),
        versions=_versions(comfyui),
    )


def _shipped_workflow(url: str, follows: Sequence[str]) -> tuple[ComfyUI, Prompt]:
    """Return ComfyUI and the workflow in API form, as the pack that ComfyUI has loaded ships it."""
    name = WORKFLOWS[tuple(follows)]
    comfyui = ComfyUI(url.rstrip("/"))
    with _speaking(comfyui):
        packs = [pack for pack, names in comfyui.get("/workflow_templates").items() if name in names]
        if not packs:
            raise IMAGDressingError(
                f"The ComfyUI at {url} has no template {name}: install this pack in it and restart it."
            )
        workflow, known = comfyui.get(f"/api/workflow_templates/{packs[0]}/{name}.json"), comfyui.get("/object_info")
        if "face" in follows and SAMPLED["face"] not in known:
            raise IMAGDressingError(
                f"The ComfyUI at {url} has no ComfyUI_IPAdapter_plus, by which images follow faces."
            )
        return comfyui, api_form(workflow, known)


def _files(workflow: Prompt, follows: Sequence[str]) -> dict[str, Slot]:
    takers = {"garment": ENCODE} | {part: SAMPLED[part] for part in follows}
    return {part: Slot(_source(workflow, _only(workflow, kind), "image"), "image") for part, kind in takers.items()}


def _text(workflow: Prompt, node: str, prompt: str) -> str:
    """Return the node of the text behind an input, ``positive`` or ``negative``, through a ControlNet's."""
    source = _source(workflow, node, prompt)
    return source if "text" in workflow[source]["inputs"] else _text(workflow, source, prompt)


def _versions(comfyui: ComfyUI) -> dict[str, str]:
    with _speaking(comfyui):
        return {"comfyui": comfyui.get("/system_stats")["system"]["comfyui_version"]}


@contextlib.contextmanager
def _speaking(comfyui: ComfyUI) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise IMAGDressingError(
            f"The ComfyUI at {comfyui.url} does not answer as one: {error}. Start it, or give its address with --url."
        ) from error


def _uploaded(comfyui: ComfyUI, image: Path) -> str:
    """Upload an image to ComfyUI under a name that no other image has; return the name."""
    name = f"imagdressing-{hashlib.sha256(image.read_bytes()).hexdigest()[:16]}{image.suffix}"
    comfyui.upload(image, name)
    return name


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _only(workflow: Prompt, class_type: str) -> str:
    (node,) = (key for key, node in workflow.items() if node["class_type"] == class_type)
    return node


def _source(workflow: Prompt, node: str, name: str) -> str:
    """Return the id of the node that an input is connected to."""
    return workflow[node]["inputs"][name][0]
