"""What every shipped template has: a name that any system allows, a thumbnail, links to its models, seeds, an App."""

import json
import re
from pathlib import Path

import pytest
from support.shipped import WORKFLOWS, app_inputs, nodes

templates = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
FORBIDDEN_ON_WINDOWS = set('<>:"/\\|?*')
FORBIDDEN_IN_AN_ADDRESS = set("#%?&+")
TITLE = 34  # pixels above a node's position
DRAWN = {  # how far below its position a node may reach in Nodes 2.0, with its model missing and its text after a run
    "IMAGDressingModelLoader": 154,
    "IMAGDressingEncodeGarment": 554,
    "IMAGDressingApply": 174,
    "IMAGDressingApplyAdvanced": 284,
    "IMAGDressingLoadGarment": 154,
    "IMAGDressingJoinGarments": 82,
}
SEED_NODES = {"KSampler": 1, "PrimitiveInt": 1}  # where the widget stands that says what comes after a run


def notes(path: Path) -> str:
    return "\n".join(node["widgets_values"][0] for node in nodes(path) if node["type"] == "MarkdownNote")


@templates
def test_its_name_is_legal_everywhere_and_its_thumbnail_has_it_too(path: Path):
    assert not set(path.stem) & (FORBIDDEN_ON_WINDOWS | FORBIDDEN_IN_AN_ADDRESS)
    assert path.stem == path.stem.strip(" .") and path.stem.isascii()
    assert path.with_suffix(".jpg").is_file()


def test_the_numbered_ones_come_first_and_without_a_gap():
    numbers = [int(match[0]) for path in WORKFLOWS if (match := re.match(r"\d+", path.stem))]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) < 10
    assert WORKFLOWS[0].stem == "1 Dress a person (start here)"


@templates
def test_its_note_links_every_model_file_and_names_its_folder(path: Path):
    text = notes(path)
    for node in nodes(path):
        for model in node["properties"].get("models", ()):
            assert f"`{model['directory']}/` [{model['name']}]({model['url']})" in text


@templates
def test_its_seed_changes_with_each_run(path: Path):
    seeds = [node for node in nodes(path) if node["type"] in SEED_NODES]
    assert seeds
    driven = {socket["name"] for node in seeds for socket in node["inputs"] if socket.get("link")}
    for node in seeds:
        changes = node["widgets_values"][SEED_NODES[node["type"]]]
        assert changes == "randomize" or (path.stem == "Strengths side by side" and "seed" in driven)


@templates
def test_it_is_an_app_with_named_inputs_and_an_output(path: Path):
    workflow = json.loads(path.read_text())
    by_id = {node["id"]: node for node in workflow["nodes"]}
    app = workflow["extra"]["linearData"]
    assert app["outputs"] and all(by_id[number]["type"] == "SaveImage" for number in app["outputs"])
    names = app_inputs(workflow)
    assert len(names) == len(set(names)) >= 3
    assert not set(names) & {"image", "text", "value", "garment_name"}


@templates
def test_below_each_node_of_the_pack_is_room_for_the_text_that_it_shows_after_a_run(path: Path):
    placed = json.loads(path.read_text())["nodes"]
    for node in placed:
        (left, top), (width, height) = node["pos"], node["size"]
        reaches = top + max(height, DRAWN.get(node["type"], 0))
        for other in placed:
            (x, y), (other_width, _) = other["pos"], other["size"]
            is_below = y > top and left < x + other_width and x < left + width
            assert not is_below or y - TITLE >= reaches, (node["type"], other["id"])
