"""Vectors of faces by insightface's ArcFace, whose cosine is the paper's S_f."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import IMAGDressingError, packages
from .images import ImageArray
from .weights import FACE, loading_weights

DETECTION_SIZE = (640, 640)  # as in the official scripts
DETECTOR, RECOGNISER = "detection", "recognition"


def load_faces(weights: str = FACE.hub_id, device: str = "cpu") -> Callable[[ImageArray], np.ndarray | None]:
    """Return what describes an image's largest face by a vector of length 1, (512,) float32; None without a face.

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

    def embed(image: ImageArray) -> np.ndarray | None:
        faces = analysis.get(np.ascontiguousarray(image[..., ::-1]))  # BGR, as insightface's models were trained
        return max(faces, key=_area).normed_embedding if faces else None

    return embed


def _area(face: Any) -> float:
    left, top, right, bottom = face.bbox
    return (right - left) * (bottom - top)
