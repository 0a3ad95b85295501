"""IMAGDressing and MagicClothing, made by a running ComfyUI with this pack in it."""

import contextlib
import copy
import hashlib
import io
import uuid
from collections.abc import Iterator
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

WORKFLOW = "Dress a person, node by node"  # one of the pack's templates, with the official constants
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
        mask: The slot of the garment's mask; None if the method reads no mask.
    """

    name: str
    comfyui: ComfyUI
    workflow: Prompt
    garment: Slot
    mask: Slot | None
    prompt: Slot
    seed: Slot
    versions: dict[str, str]

    @property
    def needs_mask(self) -> bool:
        return self.mask is not None

    @property
    def settings(self) -> dict[str, Any]:
        return {"workflow": self.workflow}

    @property
    def weights(self) -> dict[str, str]:
        """The model files that the workflow names, by the input that names them."""
        inputs = [item for node in self.workflow.values() for item in node["inputs"].items()]
        return {name: value for name, value in inputs if name.endswith("_name") and "." in str(value)}

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
            fill(self.garment, _uploaded(self.comfyui, order.garment))
            if self.mask is not None and order.garment_mask is not None:
                fill(self.mask, _uploaded(self.comfyui, order.garment_mask))
            result = self.comfyui.run(workflow)
            if result.error is not None or not result.images:
                raise IMAGDressingError(f"{order.garment.name}: ComfyUI made no image. {result.error or ''}")
            return Image.open(io.BytesIO(self.comfyui.image(result.images[0]))).convert("RGB")


def imagdressing(url: str = URL, checkpoint: str | None = None) -> WorkflowRecipe:
    """IMAGDressing by the shipped workflow.

    Args:
        url: The address of ComfyUI.
        checkpoint: The name of an own file in ``models/imagdressing``, such as one of the paper's ablation.

    Raises:
        IMAGDressingError: no ComfyUI answers there, or this pack is not installed in it.
    """
    comfyui, workflow = _shipped_workflow(url)
    encode, sampler = _only(workflow, ENCODE), _only(workflow, SAMPLER)
    if checkpoint is not None:
        workflow[_source(workflow, encode, "imagdressing")]["inputs"]["model_name"] = checkpoint
    return WorkflowRecipe(
        "IMAGDressing-v1",
        comfyui,
        workflow,
        garment=Slot(_source(workflow, encode, "image"), "image"),
        mask=None,
        prompt=Slot(_source(workflow, sampler, "positive"), "text"),
        seed=Slot(sampler, "seed"),
        versions=_versions(comfyui),
    )


def magic_clothing(url: str = URL, checkpoint: str = MAGIC_CLOTHING) -> WorkflowRecipe:
    """MagicClothing by the same nodes, with its own constants and its guidance of three branches.

    Args:
        url: The address of ComfyUI.
        checkpoint: The name of a file of the 768 joint kind in ``models/imagdressing``.

    Source: MagicClothing's gradio_generate.py and pipelines/OmsDiffusionPipeline.py.

    Raises:
        IMAGDressingError: as :func:`imagdressing`.
    """
    comfyui, workflow = _shipped_workflow(url)
    encode, sampler = _only(workflow, ENCODE), _only(workflow, SAMPLER)
    plain = workflow[sampler]["inputs"]
    model, positive, negative = plain["model"], plain["positive"], plain["negative"]
    loader = workflow[_source(workflow, encode, "imagdressing")]
    loader["inputs"]["model_name"] = checkpoint
    clip = workflow[positive[0]]["inputs"]["clip"]
    workflow[encode]["inputs"] |= {"clip": clip, "mask": ["mask", 0], **MAGIC_CLOTHING_SIZE}
    workflow[_only(workflow, LATENT)]["inputs"] |= MAGIC_CLOTHING_SIZE
    workflow[negative[0]]["inputs"]["text"] = MAGIC_CLOTHING_NEGATIVE
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
        garment=Slot(_source(workflow, encode, "image"), "image"),
        mask=Slot("mask", "image"),
        prompt=Slot(positive[0], "text"),
        seed=Slot("noise", "noise_seed"),
        versions=_versions(comfyui),
    )


def _shipped_workflow(url: str) -> tuple[ComfyUI, Prompt]:
    """Return ComfyUI and the workflow in API form, as the pack that ComfyUI has loaded ships it."""
    comfyui = ComfyUI(url.rstrip("/"))
    with _speaking(comfyui):
        packs = [pack for pack, names in comfyui.get("/workflow_templates").items() if WORKFLOW in names]
        if not packs:
            raise IMAGDressingError(
                f"The ComfyUI at {url} has no template {WORKFLOW}: install this pack in it and restart it."
            )
        workflow = comfyui.get(f"/api/workflow_templates/{packs[0]}/{WORKFLOW}.json")
        return comfyui, api_form(workflow, comfyui.get("/object_info"))


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
