"""The manifest: CSV and JSON say the same, and what is wrong in it is said by row."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import drawn

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.manifest import Case, Method, PairFiles, parse_method, read_manifest

ROW = {"picture": "a.png", "garment": "garments/a.png"}


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def test_csv_and_json_say_the_same(tmp_path: Path):
    rows = [
        ROW | {"garment_mask": "", "pose": "poses/p.png", "face": "/faces/f.png", "prompt": 'a "red", long\nprompt'},
        ROW | {"picture": "b/c.png", "garment_mask": "masks/a.png", "pose": "", "face": "", "prompt": " "},
    ]
    drawn.write_manifest(rows, tmp_path / "manifest.csv")
    first, second = read_manifest(tmp_path / "manifest.csv")
    assert read_manifest(written(tmp_path, *rows)) == (first, second)
    assert first == Case(
        "a.png",
        tmp_path / "garments/a.png",
        pose=tmp_path / "poses/p.png",
        face=Path("/faces/f.png"),
        prompt='a "red", long\nprompt',
    )
    assert second.garment_mask == tmp_path / "masks/a.png"
    assert second.prompt is None


def test_a_spreadsheets_byte_order_mark_is_no_column(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("picture,garment\na.png,b.png\n", encoding="utf-8-sig")
    assert read_manifest(tmp_path / "manifest.csv")[0].file_name == "a.png"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no image"),
        ([ROW | {"garmentmask": "a.png"}], "column 'garmentmask' .is 'garment_mask' meant"),
        ([ROW, {"picture": "b.png"}], "row 2: garment is empty"),
        ([{"garment": "a.png"}], "row 1: picture is empty"),
        ([ROW, ROW], "row 2: picture 'a.png' is in row 1 already"),
        ([ROW, ROW | {"picture": "a.png "}], "row 2: picture 'a.png' is in row 1 already"),
        ([ROW, ROW | {"picture": "./a.png"}], "row 2: picture './a.png' is in row 1 already, as 'a.png'"),
        ([ROW | {"picture": "b\\a.png"}, ROW | {"picture": "b//a.png"}], "row 2: picture 'b//a.png' is in row 1"),
        ([ROW, ROW | {"picture": "a.jpg"}], "row 2: picture 'a.jpg' would share its mask and pose, a.png, with"),
        ([ROW | {"picture": "."}], "row 1: picture '.' names no file"),
        ([ROW | {"picture": "../a.png"}], "row 1: picture '../a.png' leads out of the methods' folders"),
        ([ROW | {"picture": "/a.png"}], "leads out of the methods' folders"),
        ([ROW | {"picture": "..\\a.png"}], "leads out of the methods' folders"),
        ([ROW | {"prompt": 3}], "row 1: prompt is not a text"),
        (["a.png"], "a JSON manifest is a list of objects"),
        ([{"picture": f"{i}.png"} for i in range(12)], "and 2 more"),
    ],
)
def test_what_is_wrong_is_said_by_row(tmp_path: Path, rows: list[Any], message: str):
    with pytest.raises(IMAGDressingError, match=message):
        read_manifest(written(tmp_path, *rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.txt", b"", "neither in .csv nor in .json"),
        ("manifest.json", b"{", "cannot be read as a manifest"),
        ("manifest.json", b"[" * 100_000, "cannot be read as a manifest"),
        ("manifest.json", b'{"picture": "a.png"}', "a JSON manifest is a list of objects"),
        ("manifest.csv", b"\xff\xfe\x00", "cannot be read as a manifest"),
        ("manifest.csv", b"", "holds no image"),
        ("manifest.csv", b"picture,garment,garment\na.png,b.png,c.png\n", "has the column 'garment' twice"),
        ("manifest.csv", b"picture,garment\na.png,b.png,c.png\n", "more cells than headings"),
        ("missing.csv", None, "cannot be read as a manifest"),
    ],
)
def test_a_file_that_is_no_manifest_is_said(tmp_path: Path, name: str, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(IMAGDressingError, match=message):
        read_manifest(tmp_path / name)


def test_masks_and_poses_are_expected_where_their_folder_is(tmp_path: Path):
    files = PairFiles(Method("ours", tmp_path), Case("a.jpg", tmp_path / "g.png", prompt="a prompt"))
    assert files.part("generated") == tmp_path / "a.jpg"
    assert files.part("generated_mask") is files.part("generated_pose") is None
    (tmp_path / "masks").mkdir()
    assert files.part("generated_mask") == tmp_path / "masks/a.png"
    assert files.part("generated_pose") is None
    assert files.part("garment") == tmp_path / "g.png"
    assert files.part("prompt") == "a prompt"


def test_a_method_is_a_name_and_a_folder(tmp_path: Path):
    assert parse_method(f"IP-Adapter={tmp_path}") == Method("IP-Adapter", tmp_path)
    for text, message in (("folder", "NAME=FOLDER"), (f"={tmp_path}", "NAME=FOLDER"), ("a=/nowhere", "is no folder")):
        with pytest.raises(IMAGDressingError, match=message):
            parse_method(text)
