"""Scores of a generated image against its garment, in the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_management
import numpy
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn.functional import interpolate

from ..imagdressing_core.errors import IMAGDressingError
from ..imagdressing_core.images.preprocess import images_from_tensor, tensor_from_images
from ..imagdressing_core.model.mask import as_masks
from .comfyui.feedback import said, warning
from .comfyui.folders import evaluation_weights
from .comfyui.wires import IMAGE, MASK, require_option, require_text, require_wires
from .sockets import CATEGORY

if TYPE_CHECKING:  # the metrics are not imported at ComfyUI's start
    from ..imagdressing_core.metrics.paper import Mode
    from ..imagdressing_core.metrics.scoring import PairContent, Scorer, Scores

MODES = ("corrected", "published")
ROOM = 1.5e9  # bytes on the GPU, for CLIP ViT-B/32 or the face models at work


class EvaluateGarmentFidelity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingEvaluate",
            display_name="Evaluate Garment Fidelity",
            category=CATEGORY,
            description="Scores how faithfully an image shows its garment, as the paper does: structure, texture and "
            "keypoints (CAMI-U); with pose, face and prompt also CAMI-S.",
            search_aliases=["metric", "score", "similarity", "SSIM", "CAMI"],
            inputs=[
                io.Image.Input(
                    "garment_image", tooltip="The image that Encode Garment got: one, or one for each generated image."
                ),
                io.Image.Input("generated", tooltip="The images to score."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="corrected",
                    tooltip="corrected: the paper's scores without the mistakes of the official code. published: what "
                    "the official code computes, to compare with the paper's numbers.",
                ),
                io.Mask.Input(
                    "garment_mask", optional=True, tooltip="White marks the garment. Without it the whole image counts."
                ),
                io.Mask.Input(
                    "generated_mask",
                    optional=True,
                    tooltip="White marks the garment on the person; a clothes parser or SAM can make this mask. "
                    "Without it the whole image counts, the background too.",
                ),
                io.Image.Input("pose", optional=True, tooltip="The drawn pose that ControlNet OpenPose got."),
                io.Image.Input(
                    "generated_pose",
                    optional=True,
                    tooltip="The poses that the same detector, such as DWPose, draws of the generated images.",
                ),
                io.Image.Input("face", optional=True, tooltip="The face that IP-Adapter got."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="The prompt that generated the images.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="scores",
                    tooltip="A table as text, with a row for each image and the reason for each empty place.",
                ),
                io.Image.Output(display_name="table", tooltip="The same table as an image, beside garment and result."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        garment_image: Tensor,
        generated: Tensor,
        mode: Mode,
        garment_mask: Tensor | None = None,
        generated_mask: Tensor | None = None,
        pose: Tensor | None = None,
        generated_pose: Tensor | None = None,
        face: Tensor | None = None,
        prompt: str = "",
    ) -> io.NodeOutput:
        from ..imagdressing_core.metrics.scoring import PairContent
        from ..imagdressing_core.metrics.sheet import score_sheet, score_text

        require_wires(garment_image=(garment_image, IMAGE), generated=(generated, IMAGE))
        require_option("mode", mode, MODES)
        require_text("prompt", prompt)
        count = len(generated)
        garments = _images("garment_image", garment_image, count)
        results = _images("generated", generated, count)
        garment_masks = _masks("garment_mask", garment_mask, garments)
        result_masks = _masks("generated_mask", generated_mask, results)
        poses = _images("pose", pose, count)
        result_poses = _images("generated_pose", generated_pose, count)
        faces = _images("face", face, count)
        pairs = [
            PairContent(
                generated=results[i],
                garment=garments[i],
                generated_mask=result_masks[i],
                garment_mask=garment_masks[i],
                pose=poses[i],
                generated_pose=result_poses[i],
                face=faces[i],
                prompt=prompt.strip() or None,
            )
            for i in range(count)
        ]
        scores = _scores(pairs, mode)
        text = score_text(scores)
        table = tensor_from_images([score_sheet(garments, results, scores)])
        shown = said(text, _half_of_the_poses(pose, generated_pose))
        return io.NodeOutput(text, table, ui=ui.PreviewImage(table, cls=cls).as_dict() | shown)


def _half_of_the_poses(pose: Tensor | None, generated_pose: Tensor | None) -> str:
    if (pose is None) == (generated_pose is None):
        return ""
    given, other = ("pose", "generated_pose") if generated_pose is None else ("generated_pose", "pose")
    return warning(f"The pose is not scored: {given} is connected and {other} is not. Connect both, or neither.")


def _scores(pairs: list[PairContent], mode: Mode) -> list[Scores]:
    """Return the terms of CAMI that the connected inputs allow; a missing library or model costs only its own terms."""
    from ..imagdressing_core.metrics.paper import CAMI_S_TERMS
    from ..imagdressing_core.metrics.scoring import SCORERS

    scores: list[Scores] = [{} for _ in pairs]
    for scorer in SCORERS:
        wanted = set(scorer.terms) <= set(CAMI_S_TERMS) and all(_is_given(pairs, part) for part in scorer.needs)
        if wanted:
            for one, found in zip(scores, _scores_of(scorer, pairs, mode), strict=True):
                one.update(found)
    return scores


def _is_given(pairs: list[PairContent], part: str) -> bool:
    return getattr(pairs[0], part) is not None


def _scores_of(scorer: Scorer, pairs: list[PairContent], mode: Mode) -> list[Scores]:
    from ..imagdressing_core.metrics.outcome import NoScore
    from ..imagdressing_core.metrics.paper import PROTOCOLS
    from ..imagdressing_core.metrics.scoring import score

    try:
        weights = [evaluation_weights(one.hub_id) for one in scorer.weights]
        return score(pairs, scorer, scorer.load(weights, _device(), PROTOCOLS[mode]))
    except IMAGDressingError as error:
        return [dict.fromkeys(scorer.terms, NoScore("model or library missing", str(error))) for _ in pairs]


def _device() -> str:
    """Return the device of ComfyUI's that the metrics run on: its CUDA GPU, with room made, otherwise the CPU.

    The metrics are tested on these two, and of all GPUs the face models know only CUDA's.
    """
    device = comfy.model_management.get_torch_device()
    if device.type != "cuda":
        return "cpu"
    comfy.model_management.free_memory(ROOM, device)
    return str(device)


def _images(socket: str, batch: Tensor | None, count: int) -> list[Any]:
    """Return ``count`` images as arrays (height, width, 3) in uint8, or as often None where nothing is connected."""
    if batch is None:
        return [None] * count
    require_wires(**{socket: (batch, IMAGE)})
    try:
        images = [numpy.array(image) for image in images_from_tensor(batch)]
    except IMAGDressingError as error:
        raise IMAGDressingError(f"{socket}: {error}") from error
    return _repeated(socket, images, count)


def _masks(socket: str, masks: Tensor | None, images: list[Any]) -> list[Any]:
    """Return a mask (height, width) for each image, brought to its size, or as often None."""
    if masks is None:
        return [None] * len(images)
    require_wires(**{socket: (masks, MASK)})
    repeated = _repeated(socket, list(as_masks(masks, socket)), len(images))
    return [
        interpolate(mask[None, None].float(), image.shape[:2], mode="bilinear")[0, 0].cpu().numpy() >= 0.5
        for mask, image in zip(repeated, images, strict=True)
    ]


def _repeated(socket: str, items: list[Any], count: int) -> list[Any]:
    if len(items) not in (1, count):
        raise IMAGDressingError(f"{socket} has {len(items)} for {count} generated images; give one, or one for each.")
    return items if len(items) == count else items * count
