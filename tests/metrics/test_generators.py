"""Each method's folder: orders from the manifest, resumption, provenance."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from imagdressing_core.baselines import on_comfyui
from imagdressing_core.baselines.__main__ import app
from imagdressing_core.baselines.recipe import Order, Recipe, generate, orders, provenance_path, seed_of
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.manifest import Case

SMALL = {"width": 64, "height": 80, "num_inference_steps": 2}


@dataclass(frozen=True)
class Painter(Recipe):
    """A method that paints its order's seed."""

    needs: Collection[str] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: {"steps": 50})
    name: str = "Painter"
    weights: Mapping[str, str] = field(default_factory=lambda: {"brush": "brush.safetensors"})
    versions: Mapping[str, str] = field(default_factory=lambda: {"paint": "1.0"})
    painted: list[Order] = field(default_factory=list, compare=False)
    breaks_after: int = 99
    batch: int = 1
    batches: list[int] = field(default_factory=list, compare=False)

    def images(self, orders: Sequence[Order]) -> list[Image.Image]:
        self.batches.append(len(orders))
        return [self._image(order) for order in orders]

    def _image(self, order: Order) -> Image.Image:
        if len(self.painted) == self.breaks_after:
            raise IMAGDressingError("out of paint")
        self.painted.append(order)
        return Image.new("RGB", (64, 80), tuple(order.seed.to_bytes(4)[:3]))


def run(cases: list[Case], recipe: Painter, folder: Path) -> int:
    return generate(cases, recipe, folder)


def test_each_row_becomes_an_image_with_its_provenance_beside_it(cases: list[Case], tmp_path: Path):
    painter = Painter()
    assert run(cases, painter, tmp_path / "out") == 3
    for case, order in zip(cases, painter.painted, strict=True):
        path = tmp_path / "out" / case.file_name
        assert Image.open(path).size == (64, 80)
        assert json.loads(provenance_path(path).read_text()) == {
            "method": "Painter",
            "garment": case.garment.name,
            "garment_mask": None,
            "pose": None,
            "face": None,
            "prompt": case.prompt,
            "seed": order.seed,
            "settings": {"steps": 50},
            "weights": {"brush": "brush.safetensors"},
            "versions": {"imagdressing": "0.1.0", "paint": "1.0"},
        }


def test_a_seed_belongs_to_garment_and_prompt(cases: list[Case]):
    seeds = [order.seed for order in orders(cases, ())]
    assert len(set(seeds)) == 3
    assert seeds[0] == seed_of("red.png", "A woman") == 2373405086
    assert [order.seed for order in orders(cases[::-1], ["garment_mask"])] == seeds[::-1]


def test_the_official_words_for_quality_follow_the_prompt(cases: list[Case]):
    assert orders(cases, ())[0].text == "A woman, best quality, high quality"


def test_images_that_are_there_are_kept(cases: list[Case], tmp_path: Path):
    with pytest.raises(IMAGDressingError, match="out of paint"):
        run(cases, Painter(breaks_after=2), tmp_path)
    before = (tmp_path / "0.png").stat().st_mtime_ns
    painter = Painter()
    assert run(cases, painter, tmp_path) == 1
    assert [order.prompt for order in painter.painted] == ["A woman"]
    assert (tmp_path / "0.png").stat().st_mtime_ns == before
    assert run(cases, painter, tmp_path) == 0


def test_images_made_in_another_way_are_not_mixed_in(cases: list[Case], tmp_path: Path):
    run(cases, Painter(), tmp_path / "out")
    with pytest.raises(
        IMAGDressingError, match=r'0\.png was made with other settings \(settings: \{"steps": 50\}, now'
    ):
        run(cases, Painter(settings={"steps": 20}), tmp_path / "out")


def test_an_image_of_unknown_origin_is_not_taken_for_the_methods(cases: list[Case], tmp_path: Path):
    (tmp_path / "out").mkdir()
    Image.new("RGB", (64, 80)).save(tmp_path / "out" / "0.png")
    with pytest.raises(IMAGDressingError, match=r"0\.png exists without 0\.png\.json"):
        run(cases, Painter(), tmp_path / "out")


def test_an_image_names_the_mask_the_pose_and_the_face_that_its_method_reads(cases: list[Case], tmp_path: Path):
    whole = replace(cases[0], pose=tmp_path / "red.png", face=tmp_path / "blue.png")
    for out, needs in (("mask", ["garment_mask"]), ("person", ["pose", "face"])):
        run([whole], Painter(needs=needs), tmp_path / out)
    found = [json.loads((tmp_path / out / "0.png.json").read_text()) for out in ("mask", "person")]
    parts = [{name: one[name] for name in ("garment_mask", "pose", "face")} for one in found]
    assert parts[0] == {"garment_mask": "mask.png", "pose": None, "face": None}
    assert parts[1] == {"garment_mask": None, "pose": "red.png", "face": "blue.png"}


def test_images_are_made_in_the_methods_batches_without_those_that_exist(cases: list[Case], tmp_path: Path):
    run(cases[1:2], Painter(), tmp_path)
    more = [*cases, *(replace(cases[0], file_name=f"{i}.png", prompt=f"Woman {i}") for i in (3, 4, 5))]
    painter = Painter(batch=2)
    assert run(more, painter, tmp_path) == 5
    assert painter.batches == [2, 2, 1]


def test_all_wrong_rows_are_named_by_their_picture_before_any_image_is_made(cases: list[Case], tmp_path: Path):
    (tmp_path / "torn.png").write_bytes(b"not an image")
    wrong = [
        replace(cases[0], prompt=None),
        replace(cases[0], file_name="1"),
        replace(cases[0], garment=tmp_path / "absent.png"),
        replace(cases[0], garment=tmp_path / "torn.png"),
        replace(cases[0], garment_mask=None),
        replace(cases[0], garment_mask=tmp_path / "black.png"),
        replace(cases[0], pose=None),
    ]
    cases = [replace(case, pose=case.garment) for case in cases]
    wrong = [*(replace(case, pose=cases[0].pose) for case in wrong[:-1]), wrong[-1]]
    painter = Painter(needs=["garment_mask", "pose"])
    with pytest.raises(IMAGDressingError) as error:
        run([*cases, *wrong], painter, tmp_path / "out")
    says = str(error.value)
    for words in (
        "0.png: prompt is empty",
        "1: picture '1' ends in no image format",
        "0.png: missing file",
        "0.png: unreadable file",
        "0.png: garment_mask is empty",
        "black.png marks nothing",
        "0.png: pose is empty",
    ):
        assert words in says
    assert not painter.painted


def test_no_comfyui_is_said_with_its_address():
    with pytest.raises(IMAGDressingError, match=r"http://127\.0\.0\.1:9 does not answer.*--url"):
        on_comfyui.imagdressing("http://127.0.0.1:9/")


def test_a_device_that_is_missing_is_said_before_models_are_loaded(cases: list[Case], tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("picture,garment,prompt\n0.png,red.png,A woman\n")
    command = ["ip-adapter", "--manifest", str(tmp_path / "manifest.csv"), "--out", str(tmp_path), "--device", "cdua"]
    with pytest.raises(IMAGDressingError, match="--device cdua cannot be used"):
        CliRunner().invoke(app, command, catch_exceptions=False)
