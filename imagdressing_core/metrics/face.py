"""Vectors of faces by insightface's ArcFace, whose cosine is the paper's S_f."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import IMAGDressingError, packages
from .images import ImageArray
from .weights import FACE, loading_weights

DETECTION_SIZE = (640, 640)  # as in the official scripts
DETECTOR, RECOGNISER = "detection", "recognition"


class FaceEmbedder:
    """Finds the largest face of an image and describes it by a vector of length 1; their dot product is S_f."""

    def __init__(self, detector: Any, recogniser: Any) -> None:
        self._detector = detector
        self._recogniser = recogniser

    @classmethod
    def load(cls, weights: str = FACE.hub_id, device: str = "cpu") -> "FaceEmbedder":
        """Load the detector and the recogniser.

        Args:
            weights: The folder of a model pack's ONNX files, or a pack's name, which insightface fetches.
            device: With ``cuda`` a GPU is used where ONNX Runtime has it (``onnxruntime-gpu``).

        Raises:
            IMAGDressingError: a package or the weights are missing, or the folder lacks one of the two models.
        """
        with packages("Face similarity"):
            from insightface.app import FaceAnalysis
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            providers.insert(0, "CUDAExecutionProvider")
        if Path(weights).is_dir() and not list(Path(weights).glob("*.onnx")):
            raise IMAGDressingError(f"{weights} holds no ONNX model. Unpack {FACE.source} there.")
        with loading_weights(FACE, weights):
            models = FaceAnalysis(weights, allowed_modules=[DETECTOR, RECOGNISER], providers=providers)
            models.prepare(ctx_id=-1 if device == "cpu" else 0, det_size=DETECTION_SIZE)
            return cls(models.models[DETECTOR], models.models[RECOGNISER])

    def embed(self, images: Sequence[ImageArray]) -> list[np.ndarray | None]:
        """Return the embedding, (512,) float32, of each image's largest face; None where there is no face."""
        crops = [self._largest_face(image) for image in images]
        found = [crop for crop in crops if crop is not None]
        embeddings = iter(self._recogniser.get_feat(found) if found else ())
        return [None if crop is None else _unit(next(embeddings)) for crop in crops]

    def _largest_face(self, image: ImageArray) -> np.ndarray | None:
        """Return the largest face upright and in the middle of the square that ArcFace was trained on."""
        from insightface.utils.face_align import norm_crop

        bgr = np.ascontiguousarray(image[..., ::-1])  # as insightface's models were trained
        boxes, landmarks = self._detector.detect(bgr)
        if not len(boxes):
            return None
        left, top, right, bottom, _ = boxes.T
        largest = int(np.argmax((right - left) * (bottom - top)))
        return norm_crop(bgr, landmarks[largest], self._recogniser.input_size[0])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
