"""The scores that are not the paper's, on tiny or random models in the published formats."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from support import drawn, evaluating, tiny_annotators, tiny_clip

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics import field
from imagdressing_core.metrics.field import FIELD, framed
from imagdressing_core.metrics.images import ImageArray
from imagdressing_core.metrics.outcome import NoScore
from imagdressing_core.metrics.paper import PROTOCOLS
from imagdressing_core.metrics.scoring import PairContent, Score, score

BY_NAME = {scorer.name: scorer for scorer in FIELD}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("models")
    (folder / "clip").mkdir()
    tiny_clip.save_clip(folder / "clip")
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ViTModel(config).save_pretrained(folder / "dino")
    ViTImageProcessor().save_pretrained(folder / "dino")
    return folder


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TORCH_HOME with a VGG-16 whose features are random and whose classifier, which nothing reads, is empty."""
    from torchvision.models import vgg16

    home = tmp_path_factory.mktemp("torch")
    (home / "hub/checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    state = vgg16().state_dict()
    torch.save(state, home / "hub/checkpoints/vgg16-397923af.pth")
    return home


def loaded(name: str, models: Path) -> Score:
    weights = {"clip-i": models / "clip", "dino": models / "dino", "dists": ""}[name]
    return BY_NAME[name].load([str(weights)], "cpu", PROTOCOLS["corrected"])


def values(name: str, model: Score, *pairs: tuple[ImageArray, Any, ImageArray, Any]) -> list[Any]:
    content = [PairContent(garment=a, garment_mask=b, generated=c, generated_mask=d) for a, b, c, d in pairs]
    scorer = BY_NAME[name]
    return [one[scorer.terms[0]] for one in score(content, scorer, model)]


@pytest.mark.parametrize("name", ["clip-i", "dino", "dists"])
def test_a_copy_scores_best_whatever_is_around_it(name: str, models: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(vgg))
    model = loaded(name, models)
    (garment, mask), (other, other_mask) = drawn.garment(1), drawn.garment(2)
    moved, moved_mask = (numpy.roll(one, 3, axis=1) for one in (garment, mask))
    scene = numpy.where(moved_mask[..., None], moved, numpy.random.default_rng(0).integers(0, 255, moved.shape))
    scene = scene.astype(numpy.uint8)
    copy, unlike, empty = values(
        name,
        model,
        (garment, mask, scene, moved_mask),
        (garment, mask, other, other_mask),
        (garment, mask, other, numpy.zeros_like(other_mask)),
    )
    assert copy == pytest.approx(0 if name == "dists" else 1, abs=1e-5)
    assert unlike > copy + 1e-4 if name == "dists" else unlike < copy - 1e-4
    assert isinstance(empty, NoScore) and "empty mask" in empty.reason


def test_clip_i_is_the_cosine_of_clips_own_image_embeddings(models: Path):
    from transformers import CLIPModel

    (garment, mask), (other, other_mask) = drawn.garment(1), drawn.garment(2)
    (found,) = values("clip-i", loaded("clip-i", models), (garment, mask, other, other_mask))
    model = CLIPModel.from_pretrained(models / "clip")
    squares = [Image.fromarray(framed(*one, 224)) for one in ((garment, mask), (other, other_mask))]
    from torchvision.transforms import v2

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    see = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    with torch.inference_mode():
        pooled = model.vision_model(pixel_values=torch.stack([see(one) for one in squares])).pooler_output
        first, second = torch.nn.functional.normalize(model.visual_projection(pooled), dim=1)
    assert found == pytest.approx(float(first @ second), abs=1e-6)


def test_a_model_without_a_class_token_is_no_dino(tmp_path: Path):
    tiny_annotators.save_parser(tmp_path)
    with pytest.raises(IMAGDressingError, match=r"DINO ViT-S/16 could not be loaded from .*: it has no class token"):
        BY_NAME["dino"].load([str(tmp_path)], "cpu", PROTOCOLS["corrected"])


def test_a_frame_holds_the_garment_on_white_and_nothing_of_its_surroundings():
    image, mask = numpy.full((60, 40, 3), 7, numpy.uint8), numpy.zeros((60, 40), bool)
    image[10:50, 10:30], mask[10:50, 10:30] = (200, 0, 0), True
    square = framed(image, mask, 80)
    assert square.shape == (80, 80, 3)
    assert (square[:, 22:58] == (200, 0, 0)).all() and (square[:, :18] == 255).all() and (square[:, 62:] == 255).all()


class MeanColours(torch.nn.Module):
    """An Inception that sees an image's mean colour in four places."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.adaptive_avg_pool2d(pixels.float(), 2).reshape(len(pixels), -1)
        return torch.nn.functional.pad(small, (0, field.FEATURES - small.shape[1]))


@pytest.fixture
def study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A drawn evaluation whose persons are the first method's images; the second's have noise."""
    monkeypatch.setattr(field, "load_inception", lambda weights, device: MeanColours())
    rows = drawn.evaluation(folder, ("ours", "other"), garments=6)
    drawn.write_manifest([row | {"person": f"ours/{row['picture']}"} for row in rows], folder / "manifest.csv")
    return folder


def test_fid_and_kid_are_of_whole_methods_and_stand_apart_from_the_papers(study: Path):
    said = evaluating.run(study, "--score", "fid", "--score", "kid")
    fid = [float(evaluating.cell(study, one, "FID")["mean"]) for one in (evaluating.OURS, evaluating.OTHER)]
    assert fid[0] == pytest.approx(0, abs=1e-3) and fid[1] > 1
    assert evaluating.cell(study, evaluating.OTHER, "KID")["mean"] != ""
    markdown = (study / "out/table.md").read_text()
    heading, note = "## Not in the paper", "stand beside none of its numbers"
    assert heading in markdown and note in markdown and "FID ↓" in said
    assert "FID" not in (study / "out/table.tex").read_text()
    assert "FID" not in evaluating.records(study, "scores.csv")[0]


def test_a_report_names_the_weights_of_its_fid(study: Path):
    (study / "inception.pth").write_bytes(b"weights")
    evaluating.run(study, "--score", "fid", "--weights", f"inception={study / 'inception.pth'}")
    origin = json.loads((study / "out/evaluation.json").read_text())
    assert "fid" in origin["scores"] and len(origin["weights of inception"]) == 32


def test_a_missing_inception_is_said_before_anything_is_scored(folder: Path):
    with pytest.raises(IMAGDressingError, match="Inception could not be loaded"):
        evaluating.run(folder, "--score", "fid", "--weights", f"inception={folder / 'absent.pth'}")
    assert not (folder / "out").exists()


def test_fid_is_the_distance_of_two_normal_distributions():
    rng = torch.Generator().manual_seed(0)
    real, made = (torch.zeros(500, field.FEATURES, dtype=torch.float64) for _ in range(2))
    real[:, :3] = torch.randn(500, 3, generator=rng, dtype=torch.float64)
    made[:, :3] = real[:, :3] * 2 + torch.tensor([1.0, 0, 0])
    found = field._distance("fid", real, made)["mean"]  # pyright: ignore[reportPrivateUsage]
    means = real[:, :3].mean(0), made[:, :3].mean(0)
    covariance = torch.cov(real[:, :3].T)
    expected = (means[0] - means[1]).square().sum() + torch.trace(covariance)  # tr(Σ + 4Σ − 2·2Σ)
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_inception_is_torch_fidelitys_and_reads_a_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import NoTrainInceptionV3

    file = tmp_path / "inception.pth"
    torch.save({}, file)
    with monkeypatch.context() as patch:  # to learn the layout, in which the file is then written
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        random = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(file))
    for one in random.parameters():
        if one.ndim == 4:
            torch.nn.init.kaiming_normal_(one)  # so that the features depend on the image
    torch.save(random.state_dict(), file)
    network = field.load_inception(str(file), "cpu")
    pixels = torch.randint(0, 256, (1, 3, 512, 640), dtype=torch.uint8)
    with torch.inference_mode():
        features = network(pixels).reshape(1, -1)
        (expected,) = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))(pixels)
    assert features.shape[1] == field.FEATURES and features.abs().max() > 0
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(IMAGDressingError, match=r"Inception could not be loaded from .*torch-fidelity"):
        field.load_inception(str(tmp_path / "absent.pth"), "cpu")


def test_without_persons_fid_says_why_it_is_empty(study: Path):
    rows = drawn.evaluation(study, ("ours", "other"))
    drawn.write_manifest(rows, study / "manifest.csv")
    evaluating.run(study, "--score", "fid")
    assert evaluating.cell(study, evaluating.OURS, "FID")["reason"] == "no person given"
