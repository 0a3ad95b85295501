"""The real editor in headless Chromium, served by the real ComfyUI on synthetic models."""

import re
from collections.abc import Iterator

import run_demo as demo
import pytest
from playwright.sync_api import Browser
from sample_pictures import PICTURES
from support.comfyui_release import BASE, REPOSITORY
from support.comfyui_server import ComfyUIServer, serving
from support.editor import Editor, browsing

SCREENSHOTS = REPOSITORY / "artefacts" / "browser"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    """A host that nobody has used: a user of its own, and none of the workflows' pictures in its input folder."""
    base = demo.demo_base(None)
    for name in PICTURES:
        (BASE / "input" / name).unlink(missing_ok=True)
    with serving("--user-directory", str(tmp_path_factory.mktemp("user")), base=base) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with browsing() as running:
        yield running


@pytest.fixture
def editor(server: ComfyUIServer, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """A tab of the editor; what it looks like in the end is kept."""
    with Editor.opened(browser, server) as opened:
        yield opened
        name = re.sub(r"[^\w.-]+", "_", request.node.name).strip("_")
        opened.screenshot(SCREENSHOTS / f"{name}.png")
