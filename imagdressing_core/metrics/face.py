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

    def __init__(self, analysis: Any) -> None:
        self._analysis = analysis

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
            analysis = FaceAnalysis(weights, allowed_modules=[DETECTOR, RECOGNISER], providers=providers)
            analysis.prepare(ctx_id=-1 if device == "cpu" else 0, det_size=DETECTION_SIZE)
            if RECOGNISER not in analysis.models:  # a missing detector insightface finds by itself
                raise FileNotFoundError("there is no model for recognition")
        return cls(analysis)

    def embed(self, images: Sequence[ImageArray]) -> list[np.ndarray | None]:
        """Return the embedding, (512,) float32, of each image's largest face; None where there is no face."""
        return [self._embedding(image) for image in images]

    def _embedding(self, image: ImageArray) -> np.ndarray | None:
        faces = self._analysis.get(np.ascontiguousarray(image[..., ::-1]))  # BGR, as insightface's models were trained
        return max(faces, key=_area).normed_embedding if faces else None


def _area(face: Any) -> float:
    left, top, right, bottom = face.bbox
    return (right - left) * (bottom - top)
