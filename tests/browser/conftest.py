"""The real editor in headless Chromium, served by the real ComfyUI on synthetic models."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from support.comfyui_release import BASE, REPOSITORY
from support.comfyui_server import ComfyUIServer, serving
from support.editor import Editor, browsing
from support.shipped_prompts import IMAGES
from support.synthetic_models import synthetic_base

SCREENSHOTS = REPOSITORY / "artefacts" / "browser"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    """A host that nobody has used: a user of its own, and none of the workflows' pictures in its input folder."""
    base = synthetic_base()
    for image in IMAGES.glob("*.png"):
        (BASE / "input" / image.name).unlink(missing_ok=True)
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
