"""Names from workflows and prefixes for saved garments, of every system, under Windows' rules."""

import importlib
import re
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import comfyui_process, small_values
from support.windows import windows_files

KEY = "imagdressing_garments"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of saved garments, which obeys Windows' rules."""
    import folder_paths

    before = folder_paths.folder_names_and_paths[KEY]
    folder_paths.folder_names_and_paths[KEY] = ([str(tmp_path)], before[1])
    with windows_files(tmp_path):
        yield tmp_path
    folder_paths.folder_names_and_paths[KEY] = before
    folder_paths.filename_list_cache.pop(KEY, None)


@pytest.fixture
def small() -> Any:
    return small_values.garment()


def save(garment: Any, prefix: Any) -> None:
    comfyui_process.node_function("IMAGDressingSaveGarment")(garment=garment, filename_prefix=prefix)


def held(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_garment_is_saved_listed_and_loaded_on_windows(folder: Path, small: Any):
    save(small, "shirt")
    save(small, "shirt")
    assert held(folder) == ["shirt_00001.safetensors", "shirt_00002.safetensors"]
    loaded = comfyui_process.call("IMAGDressingLoadGarment", garment_name="shirt_00002.safetensors")
    assert torch.equal(loaded.images[0].layers[0].k, torch.ones(1, 6, 320))
    (folder / "shirt_00002.safetensors").unlink()  # which Windows forbids while the garment is mapped


@pytest.mark.parametrize("prefix", ["summer/shirt", "summer\\shirt", "./summer//shirt"])
def test_a_prefix_with_either_separator_names_a_folder(folder: Path, small: Any, prefix: str):
    save(small, prefix)
    assert held(folder) == ["summer/shirt_00001.safetensors"]


@pytest.mark.parametrize("name", ["summer\\Shirt_00001.safetensors", "Summer/shirt_00001.SAFETENSORS"])
def test_a_garment_is_found_by_the_name_that_another_system_has_for_it(folder: Path, small: Any, name: str):
    save(small, "summer/shirt")
    assert comfyui_process.call("IMAGDressingLoadGarment", garment_name=name).images


def test_the_exact_name_comes_first_and_two_alike_are_not_guessed():
    listed_name = comfyui_process.pack("nodes.comfyui.folders").listed_name
    assert listed_name("a\\b.pt", ["A/b.pt", "a/b.pt"]) == "a/b.pt"
    assert listed_name("a/b.pt", ["a\\b.pt"]) == "a\\b.pt"
    assert listed_name("A/B.pt", ["A/b.pt", "a/b.pt"]) is None
    assert listed_name("c.pt", ["a.pt"]) is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_found_however_a_system_writes_them(form: Any):
    listed_name = comfyui_process.pack("nodes.comfyui.folders").listed_name
    listed = unicodedata.normalize(form, "summer/été.pt")
    for other in ("NFC", "NFD"):
        for name in ("summer\\été.pt", "Summer/Été.pt"):
            assert listed_name(unicodedata.normalize(other, name), [listed, "ete.pt"]) == listed


def test_an_empty_prefix_is_called_empty(folder: Path, small: Any):
    with pytest.raises(ValueError, match="filename_prefix is empty"):
        save(small, "")
    assert held(folder) == []


@pytest.mark.parametrize(
    ("prefix", "part"),
    [
        ("a:b", "a:b"),
        ("what?", "what?"),
        ("summer*/shirt", "summer*"),
        ('"shirt"', '"shirt"'),
        ("summer./shirt", "summer."),
        ("shirt ", "shirt "),
        ("nul", "nul"),
        ("COM1.new", "COM1.new"),
        ("lpt²", "lpt²"),
        ("C:\\shirts\\blue", "C:"),
    ],
)
def test_a_name_that_windows_refuses_is_refused_with_the_reason(folder: Path, small: Any, prefix: str, part: str):
    with pytest.raises(ValueError, match="which Windows does not take") as refusal:
        save(small, prefix)
    assert repr(part) in str(refusal.value)
    assert "such as summer/shirt" in str(refusal.value)
    assert held(folder) == []


@pytest.mark.parametrize("prefix", ["..\\shirt", "../shirt", "\\\\server\\share\\shirt", "/shirt", "a/../../shirt"])
def test_a_prefix_leads_nowhere_with_either_separator(folder: Path, small: Any, prefix: str):
    with pytest.raises(ValueError, match="leads out of"):
        save(small, prefix)
    assert held(folder) == []


@pytest.mark.parametrize("prefix", ["x" * 300, "x" * 200 + "/" + "y" * 100])
def test_a_name_that_is_too_long_is_refused(folder: Path, small: Any, prefix: str):
    with pytest.raises(ValueError, match=r"cannot be used below|Could not write"):
        save(small, prefix)
    assert held(folder) == []


def test_comfyuis_own_patterns_are_filled_in(folder: Path, small: Any):
    save(small, "%year%/%width%x%height% %batch_num%")
    assert held(folder) == [f"{time.localtime().tm_year}/16x24 0_00001.safetensors"]


@pytest.mark.parametrize("pattern", ["%date:yyyy-MM-dd%", "%KSampler.seed%"])
def test_a_pattern_that_only_the_editor_fills_in_is_refused_with_those_that_work(
    folder: Path, small: Any, pattern: str
):
    with pytest.raises(ValueError, match=re.escape(pattern) + ".*%year%"):
        save(small, f"{pattern}/shirt")
    assert held(folder) == []


@pytest.mark.parametrize(
    "node", ["IMAGDressingModelLoader", "IMAGDressingLoadGarment", "IMAGDressingConvertCheckpoint"]
)
def test_a_name_that_a_wire_brings_is_looked_up_when_the_node_runs(node: str):
    declared: Any = importlib.import_module("nodes").NODE_CLASS_MAPPINGS[node]
    assert declared.validate_inputs(None) is True
    socket = "garment_name" if node == "IMAGDressingLoadGarment" else "model_name"
    others = {"dtype": "fp16"} if node == "IMAGDressingConvertCheckpoint" else {}
    assert declared.fingerprint_inputs(**{socket: None}, **others) is None
    for value in (None, 3, ["a"]):
        with pytest.raises(ValueError, match=r"No (saved garment|IMAGDressing checkpoint) named"):
            comfyui_process.call(node, **{socket: value}, **others)


def test_of_many_files_a_message_names_those_most_like_the_missing_one(folder: Path):
    for number in range(300):
        (folder / f"trousers_{number:05}.safetensors").write_bytes(b"")
    (folder / "shirt_00002.safetensors").write_bytes(b"")
    node = importlib.import_module("nodes").NODE_CLASS_MAPPINGS["IMAGDressingLoadGarment"]
    message = node.validate_inputs(garment_name="shirt_00001.safetensors")
    assert "They hold: shirt_00002.safetensors, trousers_" in message
    assert message.count(".safetensors") == 21
    assert "and 281 more." in message


def test_with_nothing_saved_the_list_and_the_message_at_run_say_how_to_get_a_garment(folder: Path):
    node = importlib.import_module("nodes").NODE_CLASS_MAPPINGS["IMAGDressingLoadGarment"]
    (only,) = node.INPUT_TYPES()["required"]["garment_name"][1]["options"]
    assert only == "nothing saved yet: run Save Garment, then press R"
    message = node.validate_inputs(garment_name=only)
    assert message.startswith("There is no saved garment yet.")
    assert "Wire the garment of Encode Garment to Save Garment and run that once" in message
    (folder / "shirt_00001.safetensors").write_bytes(b"")
    assert node.INPUT_TYPES()["required"]["garment_name"][1]["options"] == ["shirt_00001.safetensors"]
