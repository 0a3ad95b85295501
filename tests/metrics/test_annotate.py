"""Masks and poses made by models of transformers, here tiny ones with random weights."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
from PIL import Image
from support import drawn, tiny_annotators
from typer.testing import CliRunner

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.images.openpose import COLOURS, draw_poses
from imagdressing_core.metrics.__main__ import app
from imagdressing_core.metrics.annotate import ClothesParser, PoseEstimator, openpose_points


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_annotators.save_parser(folder / "parser")
    tiny_annotators.save_pose_estimator(folder / "estimator")
    tiny_annotators.save_detector(folder / "detector")
    tiny_annotators.save_detector(folder / "blind", bias=-4.0)
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_a_mask_is_white_where_the_parser_finds_one_of_the_labels(models: Path):
    import torch
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

    image, weights = drawn.garment(1)[0], str(models / "parser")
    mask = numpy.array(ClothesParser(weights, ("upper-clothes", "Hat")).load()(image))
    processor = SegformerImageProcessor.from_pretrained(weights)
    model = SegformerForSemanticSegmentation.from_pretrained(weights)
    with torch.inference_mode():
        logits = model(**processor(images=image, return_tensors="pt")).logits
    larger = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
    labels = larger.argmax(1)[0].numpy()
    assert numpy.array_equal(mask == 255, (labels == 1) | (labels == 2))
    assert set(numpy.unique(mask)) == {0, 255}


def test_a_label_that_the_parser_does_not_know_is_named_with_those_it_knows(models: Path):
    with pytest.raises(IMAGDressingError, match=r"no label 'Shirt'\. It has Background, Hat, Upper-clothes, Dress"):
        ClothesParser(str(models / "parser"), ("Shirt",)).load()


def test_a_pose_is_drawn_for_each_person_that_the_detector_finds(models: Path):
    image = drawn.garment(1)[0]
    found, nobody, whole = (
        numpy.array(PoseEstimator(str(models / "estimator"), detector).load()(image))
        for detector in (str(models / "detector"), str(models / "blind"), "")
    )
    assert found.shape == nobody.shape == whole.shape == image.shape
    assert found.any() and whole.any() and not nobody.any()
    assert not numpy.array_equal(found, whole)


def test_openpose_has_a_neck_between_the_shoulders_and_no_point_that_is_unsure():
    points = openpose_points([(i, 2 * i) for i in range(17)], [0.9] * 16 + [0.1])
    assert points[1] == (5.5, 11.0)
    assert (points[2], points[5], points[10], points[13]) == ((6, 12), (5, 10), None, (15, 30))
    assert openpose_points([(0, 0)] * 17, [0.0] * 17) == [None] * 18


def test_a_pose_has_openposes_colours_and_leaves_out_limbs_without_an_end():
    points: list[tuple[float, float] | None] = [None] * 18
    points[0], points[1], points[8] = (256, 100), (256, 200), (200, 400)
    drawing = draw_poses([points], 512, 512)
    assert (
        [drawing.getpixel((256, 100)), drawing.getpixel((256, 200))]
        == [COLOURS[0], COLOURS[1]]
        == [
            (255, 0, 0),
            (255, 85, 0),
        ]
    )
    assert drawing.getpixel((256, 150)) == (0, 0, 153)  # the limb from neck to nose, the thirteenth
    assert len(drawing.getcolors() or ()) == 6  # black, three points, two limbs


def test_a_folder_is_marked_once_and_again_where_an_image_has_changed(models: Path, tmp_path: Path):
    drawn.evaluation(tmp_path, ("ours",))
    folder = tmp_path / "ours"
    (folder / "masks/3.png").unlink()  # the others are a person's work
    by_hand = (folder / "masks/0.png").read_bytes()
    command = ("masks", folder, "--weights", models / "parser")
    assert "4 of 4 images have one in" in run(*command)
    assert (folder / "masks/0.png").read_bytes() == by_hand
    made = folder / "masks/3.png"
    before = made.stat().st_mtime_ns
    run(*command)
    assert made.stat().st_mtime_ns == before
    drawn.save(drawn.garment(7)[0], folder / "3.png")
    run(*command)
    assert made.stat().st_mtime_ns != before and Image.open(made).size == drawn.PHOTOGRAPH


def test_poses_of_other_models_are_drawn_anew_and_a_damaged_image_is_named(models: Path, tmp_path: Path):
    drawn.save(drawn.garment(0)[0], tmp_path / "images/a/0.png")
    (tmp_path / "images/1.png").write_bytes(b"torn")
    command = ("poses", tmp_path / "images", "--out", tmp_path / "out", "--weights", models / "estimator")
    said = run(*command, "--detector", models / "detector")
    assert "1.png" in said and "1 of 2 images have one in" in said
    first = (tmp_path / "out/a/0.png").read_bytes()
    run(*command, "--detector", "")
    assert (tmp_path / "out/a/0.png").read_bytes() != first


def test_a_parser_that_was_replaced_in_its_folder_marks_anew(models: Path, tmp_path: Path):
    shutil.copytree(models / "parser", tmp_path / "parser")
    drawn.save(drawn.garment(0)[0], tmp_path / "images/0.png")
    command = ("masks", tmp_path / "images", "--weights", tmp_path / "parser")
    run(*command)
    made = tmp_path / "images/masks/0.png"
    before = made.stat().st_mtime_ns
    config = json.loads((tmp_path / "parser/config.json").read_text())
    (tmp_path / "parser/config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.1}))
    run(*command)
    assert made.stat().st_mtime_ns != before


def test_images_that_would_share_a_mask_are_named(models: Path, tmp_path: Path):
    for name in ("shirt.png", "shirt.jpg"):
        drawn.save(drawn.garment(0)[0], tmp_path / name)
    with pytest.raises(IMAGDressingError, match=r"shirt.jpg and .*shirt.png would have the same .*shirt.png"):
        run("masks", tmp_path, "--weights", models / "parser")


def test_a_parser_without_its_head_marks_nothing_at_random(models: Path, tmp_path: Path):
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

    model = SegformerForSemanticSegmentation.from_pretrained(models / "parser")
    model.segformer.save_pretrained(tmp_path / "encoder")
    model.config.save_pretrained(tmp_path / "encoder")
    SegformerImageProcessor.from_pretrained(models / "parser").save_pretrained(tmp_path / "encoder")
    drawn.save(drawn.garment(0)[0], tmp_path / "0.png")
    with pytest.raises(IMAGDressingError, match=r"weights are missing, such as decode_head"):
        run("masks", tmp_path, "--weights", tmp_path / "encoder")


def test_missing_weights_of_a_parser_are_named_with_their_source(tmp_path: Path):
    drawn.save(drawn.garment(0)[0], tmp_path / "0.png")
    with pytest.raises(IMAGDressingError, match=r"The clothes parser could not be loaded from .*segformer_b2_clothes"):
        run("masks", tmp_path, "--weights", tmp_path / "absent")
