"""The largest face's embedding, through insightface's own detection, alignment and recognition code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import tiny_faces

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.face import load_faces

Embed = Callable[[np.ndarray], np.ndarray | None]
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("buffalo_l")
    tiny_faces.save_faces(folder)
    return folder


@pytest.fixture(scope="module")
def embed(pack: Path) -> Embed:
    return load_faces(str(pack))


def scene(*faces: tuple[tuple[int, int, int], int, int, int], seed: int = 0) -> np.ndarray:
    """A greyish image, 640 × 640, with squares in it: (colour, left, top, side)."""
    image = np.random.default_rng(seed).integers(90, 160, (640, 640, 3), np.uint8)
    for colour, left, top, side in faces:
        image[top : top + side, left : left + side] = colour
    return image


SMALL, LARGE = (RED, 96, 96, 8), (BLUE, 320, 320, 32)


def test_a_face_has_an_embedding_of_length_one(embed: Embed):
    embedding = embed(scene(SMALL))
    assert embedding is not None
    assert embedding.shape == (512,)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_no_face_is_none(embed: Embed):
    assert embed(scene()) is None


def test_of_several_faces_the_largest_counts(embed: Embed):
    both, large, small = embed(scene(SMALL, LARGE)), embed(scene(LARGE)), embed(scene(SMALL))
    assert both is not None and large is not None and small is not None
    assert np.array_equal(both, large)
    assert not np.allclose(both, small, atol=1e-2)


def test_it_is_insightfaces_own_embedding_of_that_face(embed: Embed, pack: Path):
    from insightface.app import FaceAnalysis

    analysis = FaceAnalysis(str(pack), providers=["CPUExecutionProvider"])
    analysis.prepare(-1, det_size=(640, 640))
    image = scene(SMALL, LARGE)
    faces = analysis.get(np.ascontiguousarray(image[..., ::-1]))
    assert len(faces) == 2
    sides = [face.bbox[2] - face.bbox[0] for face in faces]
    assert sorted(sides) == pytest.approx([2 * 2 * 8, 2 * 2 * 32])
    embedding = embed(image)
    assert embedding is not None
    assert np.allclose(embedding, faces[int(np.argmax(sides))].normed_embedding, atol=1e-6)


def test_channels_are_taken_as_rgb(embed: Embed):
    swapped = scene(((0, 0, 255), 96, 96, 8))  # blue, but too small for the large face: found only if read as BGR
    assert embed(swapped) is None


def test_a_folder_without_models_is_named_with_their_source(tmp_path: Path):
    with pytest.raises(IMAGDressingError, match=r"holds no ONNX model.*buffalo_l\.zip"):
        load_faces(str(tmp_path))


@pytest.mark.parametrize("missing", ["det_10g.onnx", "w600k_r50.onnx"])
def test_a_pack_that_lacks_a_model_is_refused_in_words(tmp_path: Path, missing: str):
    tiny_faces.save_faces(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(IMAGDressingError, match=r"buffalo_l\.zip"):
        load_faces(str(tmp_path))


def test_a_damaged_model_is_refused_in_words(tmp_path: Path):
    tiny_faces.save_faces(tmp_path)
    (tmp_path / "det_10g.onnx").write_bytes(b"not a model")
    with pytest.raises(IMAGDressingError, match=r"buffalo_l\.zip"):
        load_faces(str(tmp_path))
