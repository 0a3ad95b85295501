"""Every shipped workflow as the editor's template browser offers it."""

import json
from itertools import combinations
from typing import Any

import pytest
from support.comfyui_release import REPOSITORY
from support.editor import Editor

TEMPLATES = sorted(path.stem for path in (REPOSITORY / "workflows").glob("*.json"))
# Nodes of other packs, by the workflow whose notes say which pack to install for them.
OTHER_PACKS = {
    "face_and_pose": {"IPAdapterUnifiedLoaderFaceID", "IPAdapterFaceID"},
    "try_on": {"InpaintPreprocessor"},
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_opens_with_its_thumbnail_its_pictures_and_all_its_nodes(editor: Editor, name: str):
    card = editor.template_card(name)
    card.scroll_into_view_if_needed()
    editor.wait_until("(card) => card.querySelector('img')?.naturalWidth === 512", card.element_handle())
    editor.open_template(name)
    unknown = editor.run_javascript(
        "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"
    )
    assert set(unknown) == OTHER_PACKS.get(name, set())
    editor.wait_until(
        "() => app.graph.nodes.filter((node) => node.type.startsWith('LoadImage'))"
        ".every((node) => node.imgs?.[0]?.naturalWidth > 0)"
    )
    assert editor.errors == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_group_has_its_note_and_no_node_lies_on_another(name: str):
    workflow = json.loads((REPOSITORY / "workflows" / f"{name}.json").read_text())
    notes = [node for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    for group in workflow["groups"]:
        assert any(_inside(note, group["bounding"]) for note in notes), group["title"]
    for one, other in combinations(workflow["nodes"], 2):
        assert not _overlap(one, other), (one["type"], other["type"])


def _inside(node: dict[str, Any], box: list[float]) -> bool:
    x, y, width, height = box
    (left, top), (wide, high) = node["pos"], node["size"]
    return x <= left and left + wide <= x + width and y <= top and top + high <= y + height


def _overlap(one: dict[str, Any], other: dict[str, Any], title: int = 30) -> bool:
    (x, y), (width, height) = one["pos"], one["size"]
    (left, top), (wide, high) = other["pos"], other["size"]
    return x < left + wide and left < x + width and y - title < top + high and top - title < y + height
