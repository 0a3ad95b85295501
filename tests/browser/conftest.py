"""The real editor in headless Chromium, served by the real ComfyUI on synthetic models."""

import re
from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Browser
from support import fresh
from support.comfyui_release import BASE, REPOSITORY, link_pack
from support.comfyui_server import ComfyUIServer, serving
from support.editor import Editor, browsing
from support.front_ends import newest_front_end
from support.shipped_prompts import IMAGES
from support.synthetic_models import synthetic_base

from imagdressing_core.files.garment_file import save_garment
from imagdressing_core.files.official_files import DENOISING
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS

SCREENSHOTS = REPOSITORY / "artefacts" / "browser"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    """A ComfyUI that nobody has used: a user of its own, and none of the workflows' images in its input folder."""
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


@pytest.fixture(scope="session", params=["ComfyUI's own front end", "the newest front end"])
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    """ComfyUI with one front end after the other, on a base directory that holds SD1.5 and a tiny garment."""
    base = fresh.base(tmp_path_factory.mktemp("base"))
    link_pack(base)
    garments = base / "models" / "imagdressing_garments"
    garments.mkdir()
    kept = {layer.index: LayerKV(*(torch.ones(1, 4, layer.channels) for _ in "kv")) for layer in LAYERS}
    save_garment(Garment((GarmentImage(kept, Origin("a.pt", "", "pad", 16, 24)),)), garments / "shirt.safetensors")
    synthetic_base()
    (base / "models" / DENOISING.folder).mkdir()
    (base / "models" / DENOISING.path).symlink_to(BASE / "models" / DENOISING.path)
    newest = ["--front-end-root", str(newest_front_end())] if "newest" in request.param else []
    with serving("--fp16-unet", *newest, base=base) as running:
        yield running


@pytest.fixture(scope="module", params=["classic", "Nodes 2.0"])
def any_editor(request: pytest.FixtureRequest, any_server: ComfyUIServer, browser: Browser) -> Iterator[Editor]:
    """A tab of each front end's editor in each way of drawing nodes; a module's tests share it."""
    with Editor.opened(browser, any_server, Comfy_VueNodes_Enabled=request.param == "Nodes 2.0") as opened:
        yield opened
