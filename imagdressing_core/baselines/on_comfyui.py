"""IMAGDressing and MagicClothing, made by a running ComfyUI with this pack in it."""

import contextlib
import copy
import io
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import IMAGDressingError, packages
from ..metrics.provenance import file_digest
from .comfyui_client import ComfyUI
from .recipe import Order, Recipe
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


@dataclass(frozen=True, kw_only=True)
class WorkflowRecipe(Recipe):
    """A workflow in API form, whose slots are filled for each image.

    Attributes:
        files: The slots of the garment and of whatever else the method reads, by their names in :class:`Order`.
    """

    comfyui: ComfyUI
    files: dict[str, Slot]
    prompt: Slot
    seed: Slot

    @property
    def workflow(self) -> Prompt:
        return self.settings["workflow"]

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
                file: Path = getattr(order, part)
                name = f"imagdressing-{file_digest(file)}{file.suffix}"  # no other image has it
                self.comfyui.upload(file, name)
                fill(slot, name)
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
    comfyui = ComfyUI(url.rstrip("/"))
    with _speaking(comfyui):
        workflow = _shipped_workflow(comfyui, follows)
        version = comfyui.get("/system_stats")["system"]["comfyui_version"]
    if checkpoint is not None:
        workflow[_source(workflow, _only(workflow, ENCODE), "imagdressing")]["inputs"]["model_name"] = checkpoint
    sampler = _only(workflow, SAMPLER)
    inputs = [item for node in workflow.values() for item in node["inputs"].items()]
    takers = {"garment": ENCODE} | {part: SAMPLED[part] for part in follows}
    return WorkflowRecipe(
        name="IMAGDressing-v1",
        settings={"workflow": workflow},
        weights={name: value for name, value in inputs if name.endswith("_name") and "." in str(value)},
        versions={"comfyui": version},
        needs=list(follows),
        comfyui=comfyui,
        files={part: Slot(_source(workflow, _only(workflow, kind), "image"), "image") for part, kind in takers.items()},
        prompt=Slot(_text(workflow, sampler, "positive"), "text"),
        seed=Slot(sampler, "seed"),
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
    recipe = imagdressing(url, checkpoint, follows)
    workflow, sampler = recipe.workflow, _only(recipe.workflow, SAMPLER)
    plain = workflow[sampler]["inputs"]
    model, positive, negative = plain["model"], plain["positive"], plain["negative"]
    clip = workflow[recipe.prompt.node]["inputs"]["clip"]
    workflow[_only(workflow, ENCODE)]["inputs"] |= {"clip": clip, "mask": ["mask", 0], **MAGIC_CLOTHING_SIZE}
    workflow[_only(workflow, LATENT)]["inputs"] |= MAGIC_CLOTHING_SIZE
    workflow[_text(workflow, sampler, "negative")]["inputs"]["text"] = MAGIC_CLOTHING_NEGATIVE
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
    return replace(
        recipe,
        name="MagicClothing",
        needs=[*recipe.needs, "garment_mask"],
        files={**recipe.files, "garment_mask": Slot("mask", "image")},
        seed=Slot("noise", "noise_seed"),
    )


def _shipped_workflow(comfyui: ComfyUI, follows: Sequence[str]) -> Prompt:
    """Return the workflow in API form, as the pack that ComfyUI has loaded ships it."""
    name = WORKFLOWS[tuple(follows)]
    packs = [pack for pack, names in comfyui.get("/workflow_templates").items() if name in names]
    if not packs:
        raise IMAGDressingError(
            f"The ComfyUI at {comfyui.url} has no template {name}: install this pack in it and restart it."
        )
    workflow, known = comfyui.get(f"/api/workflow_templates/{packs[0]}/{name}.json"), comfyui.get("/object_info")
    if "face" in follows and SAMPLED["face"] not in known:
        raise IMAGDressingError(
            f"The ComfyUI at {comfyui.url} has no ComfyUI_IPAdapter_plus, by which images follow faces."
        )
    return api_form(workflow, known)


def _text(workflow: Prompt, node: str, prompt: str) -> str:
    """Return the node of the text behind an input, ``positive`` or ``negative``, through a ControlNet's."""
    source = _source(workflow, node, prompt)
    return source if "text" in workflow[source]["inputs"] else _text(workflow, source, prompt)


@contextlib.contextmanager
def _speaking(comfyui: ComfyUI) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise IMAGDressingError(
            f"The ComfyUI at {comfyui.url} does not answer as one: {error}. Start it, or give its address with --url."
        ) from error


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _only(workflow: Prompt, class_type: str) -> str:
    (node,) = (key for key, node in workflow.items() if node["class_type"] == class_type)
    return node


def _source(workflow: Prompt, node: str, name: str) -> str:
    """Return the id of the node that an input is connected to."""
    return workflow[node]["inputs"][name][0]
