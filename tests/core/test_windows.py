"""Saving and loading under Windows' rules, which break what this system lets pass."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.windows import in_use, windows_files

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import convert_checkpoint, read_checkpoint
from imagdressing_core.files.storage import save_whole
from imagdressing_core.training.state import load_state, newest_state, read_progress, save_state


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with windows_files(tmp_path):
        yield tmp_path


def test_a_file_is_flushed_through_a_handle_that_may_write(folder: Path):
    save_whole({"a": torch.ones(2)}, folder / "summer" / "a.safetensors", {})
    assert [path.name for path in (folder / "summer").iterdir()] == ["a.safetensors"]


def test_a_file_is_written_over_its_old_self(folder: Path):
    for value in (1.0, 2.0):
        save_whole({"a": torch.full((2,), value)}, folder / "a.safetensors", {})
    with safe_open(folder / "a.safetensors", framework="pt") as file:
        assert float(file.get_tensor("a")[0]) == 2.0


def test_a_file_that_is_in_use_stays_and_the_message_tells_of_whom(folder: Path):
    target = folder / "a.safetensors"
    save_file({"a": torch.ones(2)}, target)
    with safe_open(target, framework="pt") as file:
        held = file.get_tensor("a")
        assert in_use(target)
        with pytest.raises(IMAGDressingError, match=r"Could not write .*a\.safetensors.*in use until it is restarted"):
            save_whole({"a": torch.zeros(2)}, target, {})
    assert float(held[0]) == 1.0
    assert [path.name for path in folder.iterdir()] == ["a.safetensors"]


def test_a_path_that_is_too_long_is_called_too_long(folder: Path):
    target = folder / ("x" * 200) / f"{'y' * 60}.safetensors"
    with pytest.raises(IMAGDressingError, match=r"letters, and Windows may allow only 259: choose a shorter name"):
        save_whole({"a": torch.ones(2)}, target, {})


def test_the_longest_name_that_windows_takes_can_be_saved(folder: Path):
    name = "y" * (259 - len(str(folder)) - len("/.safetensors")) + ".safetensors"
    save_whole({"a": torch.ones(2)}, folder / name, {})
    assert (folder / name).is_file()


def test_a_checkpoint_is_converted_twice(folder: Path, weights: dict[str, Any]):
    torch.save({"module": weights}, folder / "official.pt")
    convert_checkpoint(folder / "official.pt", folder)
    converted = convert_checkpoint(folder / "official.pt", folder)
    assert (
        read_checkpoint(converted.path).garment_unet.keys()
        == read_checkpoint(folder / "official.pt").garment_unet.keys()
    )
    assert sorted(path.name for path in folder.iterdir()) == ["official.pt", "official_fp16.safetensors"]


class Accelerator(SimpleNamespace):
    """One process without models, as the functions of ``training.state`` use accelerate's class."""

    num_processes, is_main_process = 1, True

    def __init__(self) -> None:
        super().__init__(_models=[torch.nn.Linear(2, 2)])

    def save_state(self, folder: str) -> None:
        save_file({"a": torch.ones(2)}, Path(folder) / "model.safetensors")

    def load_state(self, folder: str) -> None:
        assert (Path(folder) / "model.safetensors").is_file()


def test_the_state_of_a_training_run_is_saved_twice_and_loaded(folder: Path):
    accelerator: Any = Accelerator()
    save_state(accelerator, folder, {"step": 3}, None)
    saved = save_state(accelerator, folder, {"step": 3, "run": "été"}, {"b": torch.ones(2)})
    assert newest_state(folder) == saved
    averaged = load_state(accelerator, saved)
    assert read_progress(saved) == {"step": 3, "run": "été"}
    assert averaged is not None and torch.equal(averaged["b"], torch.ones(2))
