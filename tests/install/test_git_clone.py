"""``git clone`` into ``custom_nodes`` is the whole installation; nothing outside ComfyUI's folders changes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from support import contract, fresh
from support.comfyui_release import PACK_NAME
from support.comfyui_server import serving

WATCHED = Path(__file__).parent / "watched"


@dataclass(frozen=True)
class FirstStart:
    """What ComfyUI showed and did in its first start with the pack. notes: what ``sitecustomize`` saw, by kind."""

    base: Path
    home: Path
    nodes: dict[str, Any]
    templates: dict[str, list[str]]
    folders: list[str]
    help_page: str
    before: dict[str, str]
    after: dict[str, str]
    notes: dict[str, set[str]]
    log: str


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstStart]:
    place = tmp_path_factory.mktemp("clone")
    base, home, scratch, notes = fresh.base(place / "base"), place / "home", place / "scratch", place / "notes"
    for folder in (home, scratch):
        folder.mkdir()
    pack = fresh.clone(base)
    before = fresh.content(pack)
    environment = {"HOME": home, "TMPDIR": scratch, "PYTHONPATH": WATCHED, "WATCHED": notes}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, str(value))
        with serving(base=base) as server:
            nodes = fresh.pack_nodes(server)
            templates, folders = server.get("/workflow_templates"), server.get("/models")
            help_page = requests.get(f"{server.url}/extensions/{PACK_NAME}/docs/IMAGDressingApply.md", timeout=60).text
            log = server.log.read_text()
    seen: dict[str, set[str]] = {"write": set(), "talk": set()}
    for line in notes.read_text().splitlines():
        kind, what = json.loads(line)
        seen[kind].add(what)
    yield FirstStart(base, home, nodes, templates, folders, help_page, before, fresh.content(pack), seen, log)


def test_comfyui_lists_every_node(first_start: FirstStart):
    assert set(contract.RELEASED) <= set(first_start.nodes), first_start.log


def test_comfyui_lists_workflows_model_folders_and_help(first_start: FirstStart):
    assert "1 Dress a person (start here)" in first_start.templates[PACK_NAME]
    assert {"imagdressing", "imagdressing_garments"} <= set(first_start.folders)
    assert "Apply Garment" in first_start.help_page


def test_the_packs_folder_stays_as_it_was_cloned(first_start: FirstStart):
    assert first_start.after == first_start.before


def test_nothing_is_written_outside_comfyuis_folders(first_start: FirstStart):
    allowed = (first_start.base, first_start.base.parent / "scratch", Path("/dev"))
    outside = [
        path
        for path in map(Path, first_start.notes["write"])
        if "__pycache__" not in path.parts and not any(path.is_relative_to(folder) for folder in allowed)
    ]
    assert first_start.notes["write"]  # it was watched
    assert outside == []
    assert list(first_start.home.iterdir()) == []


def test_no_model_folder_or_file_appears(first_start: FirstStart):
    assert list((first_start.base / "models").iterdir()) == []


def test_nothing_is_asked_of_the_network(first_start: FirstStart):
    assert [host for host in first_start.notes["talk"] if "127.0.0.1" not in host] == []


def test_released_inputs_keep_name_order_and_place(first_start: FirstStart):
    """What an older version saved, as a workflow or in API form, still means the same."""
    assert contract.changes(first_start.nodes) == []
