"""Each template can be read and used as it opens, in both editors and both ways in which they draw nodes.

The models are missing here, as for someone who has just installed the pack. A run is told to the editor as the server
tells it, with an image of the input folder in place of the one that was made.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator
from support.comfyui_release import link_pack
from support.comfyui_server import ComfyUIServer, serving
from support.editor import Editor
from support.front_ends import newest_front_end
from support.rendered import finish, load_workflow, rendered
from support.shipped import WORKFLOWS, app_inputs
from support.shipped_prompts import IMAGES

from imagdressing_core.baselines.workflow_api import api_form

LAPTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SMALLEST_SCALE, SMALLEST_TEXT = 0.6, 8.0
GLIDE_MS = 1000
OTHER_PACK = "A face and a pose (needs another pack)"

templates = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@pytest.fixture(scope="module", params=["own", "newest"])
def bare_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    """A ComfyUI without models, with its own front end or the newest."""
    base = tmp_path_factory.mktemp("base")
    link_pack(base)
    shutil.copytree(IMAGES, base / "input")
    flags = ["--front-end-root", str(newest_front_end())] if request.param == "newest" else []
    with serving(*flags, base=base) as server:
        yield server


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes_2"])
def laptop(bare_server: ComfyUIServer, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Editor]:
    with Editor.opened(browser, bare_server, LAPTOP, Comfy_VueNodes_Enabled=request.param) as opened:
        yield opened


@pytest.fixture(scope="module")
def phone(bare_server: ComfyUIServer, browser: Browser) -> Iterator[Editor]:
    with Editor.opened(browser, bare_server, PHONE) as opened:
        yield opened


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@templates
def test_on_opening_all_its_text_is_legible_and_no_node_lies_on_another(laptop: Editor, path: Path):
    load_workflow(laptop, read(path))
    seen = rendered(laptop)
    assert seen.scale >= SMALLEST_SCALE
    assert round(seen.smallest_text, 1) >= SMALLEST_TEXT
    assert seen.cut == []
    assert seen.overlaps == []


@templates
def test_after_a_run_no_node_lies_on_another(laptop: Editor, path: Path):
    load_workflow(laptop, read(path))
    finish(laptop, "imagdressing_person.png")
    assert rendered(laptop).overlaps == []


@templates
def test_the_editor_queues_what_the_api_form_says(laptop: Editor, bare_server: ComfyUIServer, path: Path):
    if path.stem == OTHER_PACK:
        return  # the editor does not know the inputs of nodes that it lacks
    load_workflow(laptop, read(path))
    queued = laptop.run_javascript("async () => (await app.graphToPrompt()).output")
    expected = api_form(read(path), bare_server.get("/object_info"))
    assert {key: node["inputs"] for key, node in queued.items()} == {
        key: node["inputs"] for key, node in expected.items()
    }


@templates
def test_as_an_app_its_inputs_and_run_fit_a_telephone(phone: Editor, path: Path):
    load_workflow(phone, read(path))
    phone.run_javascript("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")
    phone.page.get_by_text("Edit & Run").click()
    phone.page.wait_for_timeout(GLIDE_MS)
    for name in app_inputs(read(path)):
        assert is_within(phone, phone.page.get_by_text(name, exact=True).filter(visible=True).first), name
    assert is_within(phone, phone.page.get_by_test_id("linear-run-button"))
    phone.run_javascript("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")


def is_within(editor: Editor, element: Locator) -> bool:
    """Say whether an element can be brought into view without scrolling sideways."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    return box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
