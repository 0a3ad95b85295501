"""Garment masks and pose drawings of images, made by published models of transformers.

Both are PNG files that say what they were made from: an image or a model that has changed makes them anew, and a file
that somebody else put there is kept.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .. import __version__
from ..errors import IMAGDressingError, packages
from ..files.storage import written_whole
from ..images.openpose import Point, draw_poses
from .images import ImageArray, read_image
from .outcome import NoScore
from .provenance import file_digest, weights_digest
from .weights import DETECTOR, LABELS, PARSER, POSE_ESTIMATOR, Weights, load_whole, loading_weights

NOTE = "imagdressing"  # the PNG's text that says what it was made from
PERSON = "person"
SURE_PERSON, SURE_POINT = 0.5, 0.3
# For each of OpenPose's points its number among the 17 of COCO, which ViTPose gives; the neck has none.
COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
NECK, SHOULDERS = 1, (2, 5)


Draw: TypeAlias = Callable[[ImageArray], Image.Image]
"""Draws an image of the same size for an image."""


@dataclass(frozen=True)
class Work:
    """One image, and the PNG file that is to be made of it."""

    image: Path
    target: Path


def annotate(work: Iterable[Work], annotator: "ClothesParser | PoseEstimator") -> list[str]:
    """Make the files that are missing or made otherwise, and return what is wrong with images that have none.

    The models are loaded only if there is something to make.
    """
    draw: Draw | None = None
    problems: list[str] = []
    made_with = annotator.made_with
    for one in work:
        made_from = json.dumps({"version": __version__, "made_with": made_with, "image": file_digest(one.image)})
        if _is_made(one.target, made_from):
            continue
        try:
            image = read_image(one.image)
        except NoScore as reason:
            problems.append(str(reason))
            continue
        draw = draw or annotator.load()
        drawing = draw(image)
        note = PngInfo()
        note.add_text(NOTE, made_from)
        with written_whole(one.target) as unfinished:
            drawing.save(unfinished, format="PNG", pnginfo=note)
    return problems


def folder_work(folder: Path, target: Path) -> list[Work]:
    """Return the work on all images of a folder and its subfolders, but those made by this command.

    Raises:
        IMAGDressingError: there is no image, or two of them differ in their suffix only.
    """
    known = Image.registered_extensions()
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in known and path.is_file()]
    made = (target, *(folder / name for name in ("masks", "poses")))
    images = [path for path in found if not any(one in path.parents for one in made)]
    if not images:
        raise IMAGDressingError(f"{folder} holds no image.")
    work: dict[Path, Work] = {}
    for path in images:
        one = Work(path, (target / path.relative_to(folder)).with_suffix(".png"))
        other = work.setdefault(one.target, one).image
        if other != path:
            raise IMAGDressingError(f"{other} and {path} would have the same {one.target}. Rename one of them.")
    return list(work.values())


def _is_made(target: Path, made_from: str) -> bool:
    """Return whether a file is there that was made from the same, or by somebody else."""
    if not target.is_file():
        return False
    try:
        with Image.open(target) as file:
            return file.info.get(NOTE, made_from) == made_from
    except (OSError, ValueError):
        return True  # the score says what is wrong with it


@dataclass(frozen=True)
class ClothesParser:
    """Marks the pixels of a garment, by a model for semantic segmentation.

    Attributes:
        labels: The names that the model gives to the garment's pixels.
    """

    weights: str = PARSER.hub_id
    labels: Sequence[str] = LABELS
    device: str = "cpu"

    @property
    def made_with(self) -> str:
        """Everything that a mask depends on besides its image."""
        return f"{_named(PARSER, self.weights)}: {', '.join(self.labels)}"

    def load(self) -> Draw:
        """Return what draws a mask in 8 bits, white on the garment; black where the model finds none.

        Raises:
            IMAGDressingError: a package or the weights are missing, or the model has no such label.
        """
        with packages("Masks"):
            from transformers import AutoModelForSemanticSegmentation
        processor, model = _loaded(PARSER, self.weights, AutoModelForSemanticSegmentation, self.device)
        numbers = {name.lower(): int(number) for number, name in model.config.id2label.items()}
        unknown = [name for name in self.labels if name.lower() not in numbers]
        if unknown:
            raise IMAGDressingError(
                f"{self.weights} has no label {unknown[0]!r}. It has {', '.join(model.config.id2label.values())}."
            )
        wanted = torch.tensor([numbers[one.lower()] for one in self.labels])

        @torch.inference_mode()
        def draw(image: ImageArray) -> Image.Image:
            found = model(**processor(images=image, return_tensors="pt").to(model.device))
            (labels,) = processor.post_process_semantic_segmentation(found, target_sizes=[image.shape[:2]])
            return Image.fromarray((torch.isin(labels.cpu(), wanted).numpy() * 255).astype("uint8"))

        return draw


@dataclass(frozen=True)
class PoseEstimator:
    """Draws the poses of all persons in OpenPose's colours.

    Attributes:
        detector: A model that finds the persons; with an empty name the whole image is taken for one.
    """

    weights: str = POSE_ESTIMATOR.hub_id
    detector: str = DETECTOR.hub_id
    device: str = "cpu"

    @property
    def made_with(self) -> str:
        """Everything that a drawing depends on besides its image."""
        estimator = _named(POSE_ESTIMATOR, self.weights)
        return f"{estimator} in the persons of {_named(DETECTOR, self.detector)}" if self.detector else estimator

    def load(self) -> Draw:
        """Return what draws the poses on black; all black where nobody is found.

        Raises:
            IMAGDressingError: a package or the weights are missing, or a model is of another kind.
        """
        with packages("Poses"):
            from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation
        estimator = _loaded(POSE_ESTIMATOR, self.weights, VitPoseForPoseEstimation, self.device)
        detector = ()
        if self.detector:
            detector = _loaded(DETECTOR, self.detector, AutoModelForObjectDetection, self.device)
            if PERSON not in detector[1].config.id2label.values():
                raise IMAGDressingError(
                    f"{self.detector} finds no {PERSON}: it is no detector that was trained on COCO."
                )

        @torch.inference_mode()
        def draw(image: ImageArray) -> Image.Image:
            height, width = image.shape[:2]
            boxes = _persons(image, *detector) if detector else [[0.0, 0.0, float(width), float(height)]]
            return draw_poses(_points(image, boxes, *estimator) if boxes else (), width, height)

        return draw


def _named(weights: Weights, path: str) -> str:
    """Return the weights' name, and of a folder the digest too: another model may be put there."""
    return f"{path} {weights_digest(weights, path)}" if Path(path).is_dir() else path


def _loaded(weights: Weights, path: str, kind: Any, device: str) -> tuple[Any, Any]:
    """Return the image processor and the model of weights."""
    from transformers import AutoImageProcessor

    with loading_weights(weights, path):
        return AutoImageProcessor.from_pretrained(path), load_whole(kind, path).to(device)


def _persons(image: ImageArray, processor: Any, detector: Any) -> list[list[float]]:
    """Return the persons' boxes as left, top, width, height in pixels."""
    found = detector(**processor(images=image, return_tensors="pt").to(detector.device))
    (found,) = processor.post_process_object_detection(found, threshold=SURE_PERSON, target_sizes=[image.shape[:2]])
    names = detector.config.id2label
    return [
        [left, top, right - left, bottom - top]
        for label, (left, top, right, bottom) in zip(found["labels"].tolist(), found["boxes"].tolist(), strict=True)
        if names[label] == PERSON and right > left and bottom > top
    ]


def _points(image: ImageArray, boxes: list[list[float]], processor: Any, model: Any) -> list[list[Point | None]]:
    inputs = processor(images=image, boxes=[boxes], return_tensors="pt").to(model.device)
    if getattr(model.config.backbone_config, "num_experts", 1) > 1:
        inputs["dataset_index"] = torch.zeros(len(boxes), dtype=torch.int64, device=model.device)  # COCO
    (persons,) = processor.post_process_pose_estimation(model(**inputs), boxes=[boxes])
    return [openpose_points(one["keypoints"].tolist(), one["scores"].tolist()) for one in persons]


def openpose_points(points: Iterable[Iterable[float]], scores: Iterable[float]) -> list[Point | None]:
    """Return OpenPose's 18 points of COCO's 17, those that are sure; the neck lies between the shoulders."""
    sure: list[Point | None] = [
        (x, y) if score >= SURE_POINT else None for (x, y), score in zip(points, scores, strict=True)
    ]
    found = [None if number is None else sure[number] for number in COCO]
    right, left = (found[shoulder] for shoulder in SHOULDERS)
    if right is not None and left is not None:
        found[NECK] = (right[0] + left[0]) / 2, (right[1] + left[1]) / 2
    return found
