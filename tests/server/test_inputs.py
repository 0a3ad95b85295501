"""Inputs as people have them, over HTTP: names and nothing over wires, other systems' names, no mapped files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support import fresh
from support.comfyui_release import BASE, link_pack
from support.comfyui_server import ComfyUIServer, Prompt, serving

from imagdressing_core.files.garment_file import save_garment
from imagdressing_core.files.official_files import GARMENT
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS

# A node as switches of other packs are: its output takes the place of any type, and its value is whatever it is.
ANYTHING = """
import json

class Anything:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("STRING", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "run", "test"

    def run(self, value):
        return (json.loads(value),)

NODE_CLASS_MAPPINGS = {"Anything": Anything}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = fresh.base(tmp_path_factory.mktemp("base"))
    (base / "custom_nodes" / "anything.py").write_text(ANYTHING)
    link_pack(base)
    garments = base / "models" / "imagdressing_garments"
    garments.mkdir()
    kept = {layer.index: LayerKV(*(torch.ones(1, 4, layer.channels) for _ in "kv")) for layer in LAYERS}
    save_garment(Garment((GarmentImage(kept, Origin("a.pt", "", "pad", 16, 24)),)), garments / "shirt.safetensors")
    (base / "models" / GARMENT.folder).mkdir()
    (base / "models" / GARMENT.path).symlink_to(BASE / "models" / GARMENT.path)
    return base


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[ComfyUIServer]:
    with serving("--disable-mmap", base=base) as running:
        yield running


def anything(value: str) -> dict[str, Any]:
    return {"class_type": "Anything", "inputs": {"value": value}}


def load_and_save(name: str, prefix: str = "again") -> Prompt:
    """Load a garment whose name comes over a wire, and save it."""
    save = {"garment": ["load", 0], "filename_prefix": prefix}
    return {
        "name": anything(name),
        "load": {"class_type": "IMAGDressingLoadGarment", "inputs": {"garment_name": ["name", 0]}},
        "save": {"class_type": "IMAGDressingSaveGarment", "inputs": save},
    }


def test_a_name_that_comes_over_a_wire_is_taken_and_cached_as_usual(server: ComfyUIServer):
    first, second = (server.run(load_and_save('"shirt.safetensors"', prefix)) for prefix in ("one", "two"))
    assert (first.error, second.error) == (None, None)
    assert "load" in first.executed
    assert {"name", "load"} <= second.cached


@pytest.mark.parametrize("value", ['"trousers.safetensors"', "null", "3"])
def test_a_wrong_name_that_comes_over_a_wire_is_said_with_those_that_are_there(server: ComfyUIServer, value: str):
    error = server.run(load_and_save(value)).error
    assert error is not None
    assert "No saved garment named" in error
    assert "shirt.safetensors" in error


def test_nothing_on_a_wire_is_said_on_the_node_that_has_the_wire(server: ComfyUIServer):
    prompt = load_and_save('"shirt.safetensors"') | {"nothing": anything("null")}
    prompt["save"]["inputs"]["garment"] = ["nothing", 0]
    error = server.run(prompt).error
    assert error is not None
    assert error.startswith("garment is empty: the node that it is wired to gave nothing.")
    assert "Connect Encode Garment, Load Garment or Join Garments." in error


def test_a_prefix_of_another_system_is_a_folder_and_a_name(server: ComfyUIServer, base: Path):
    assert server.run(load_and_save('"shirt.safetensors"', "summer\\blue")).error is None
    assert (base / "models" / "imagdressing_garments" / "summer" / "blue_00001.safetensors").is_file()
    assert server.run(load_and_save('"summer\\\\blue_00001.safetensors"', "third")).error is None


def test_paste_back_says_that_an_empty_mask_pastes_nothing(server: ComfyUIServer, base: Path):
    Image.new("RGB", (64, 80), "red").save(base / "input" / "opaque.png")
    prompt: Prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "opaque.png"}},
        "2": {
            "class_type": "IMAGDressingPasteBack",
            "inputs": {
                "original": ["1", 0],
                "generated": ["1", 0],
                "mask": ["1", 1],
                "feather": 0,
                "match_color": False,
            },
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "pasted"}},
    }
    assert server.run(prompt).error is None
    assert "The mask is empty, so the original is given back unchanged." in server.log.read_text()


def test_with_disable_mmap_the_checkpoint_is_read_and_not_mapped(server: ComfyUIServer):
    prompt: Prompt = {
        "1": {"class_type": "IMAGDressingModelLoader", "inputs": {"model_name": GARMENT.name}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    result = server.run(prompt)
    assert result.error is None, result.error
    assert GARMENT.name not in Path(f"/proc/{server.pid}/maps").read_text()


@pytest.mark.parametrize(
    ("socket", "text", "message"),
    [
        ("layers", "al", "layers has 'al', which cannot be read; give one of all, texture"),
        ("layers", "0:1.0, 16:1", "layers names layer 16, which does not exist"),
        ("schedule", "easein", "schedule has 'easein', which cannot be read; give one of constant, ease in"),
    ],
)
def test_a_typo_in_layers_or_schedule_is_said_before_anything_runs(
    server: ComfyUIServer, socket: str, text: str, message: str
):
    inputs: dict[str, Any] = {"model": ["any", 0], "garment": ["load", 0], "strength": 1.0, "start_percent": 0.0}
    inputs |= {"end_percent": 1.0, "layers": "all", "branches": "conditional", "batch": "broadcast"}
    apply = {"class_type": "IMAGDressingApplyAdvanced", "inputs": inputs | {socket: text}}
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["apply", 0]}}
    load = {"class_type": "IMAGDressingLoadGarment", "inputs": {"garment_name": "shirt.safetensors"}}
    result = server.run({"any": anything("0"), "load": load, "apply": apply, "shown": shown})
    assert result.error is not None
    assert message in result.error
    assert result.executed == frozenset()


@pytest.mark.parametrize("text", ["weak input", " Ease In ", "0:1.0, 5:0.5"])
def test_presets_and_texts_of_todays_workflows_pass_the_check(server: ComfyUIServer, text: str):
    node = server.get("/object_info/IMAGDressingApplyAdvanced")["IMAGDressingApplyAdvanced"]["input"]
    kind, listed = node["required"]["layers"]
    assert (kind, listed["default"], "weak input" in listed["options"]) == ("STRING", "all", True)
    assert node["optional"]["schedule"][1]["options"] == ["constant", "ease in", "ease out", "ease in-out"]
    heat = {"model": ["any", 0], "positive": ["any", 0], "samples": ["any", 0], "image": ["any", 0], "steps": 1}
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["heat", 0]}}
    prompt = {"class_type": "IMAGDressingHeatMap", "inputs": heat | {"layers": text}}
    result = server.run({"any": anything("0"), "heat": prompt, "shown": shown})
    assert result.error is not None
    assert "takes CONDITIONING and got" in result.error  # it ran, so that the text was no reason against it
