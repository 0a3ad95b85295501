"""An installation that cannot work says why and what to do, in ComfyUI's own log, and leaves ComfyUI as it was."""

import asyncio
import importlib
import shutil
import sys
from pathlib import Path

import pytest
from support import comfyui_process, fresh
from support.comfyui_release import BASE, PACK_NAME

IN_USE = BASE / "custom_nodes" / PACK_NAME


def load(pack: Path) -> bool:
    """Load a folder of ``custom_nodes`` as ComfyUI does at its start; return whether it could."""
    comfyui_process.start()  # with the pack in it
    return asyncio.run(importlib.import_module("nodes").load_custom_node(str(pack)))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    comfyui_process.start()
    return fresh.clone(fresh.base(tmp_path), "IMAGDressing-copy")


def set_version(pack: Path, version: str) -> None:
    module = pack / "imagdressing_core" / "__init__.py"
    text = module.read_text()
    own = comfyui_process.pack("imagdressing_core").__version__
    assert f'"{own}"' in text
    module.write_text(text.replace(f'"{own}"', f'"{version}"'))


@pytest.mark.parametrize(
    ("version", "spare_is_copy"), [("0.0.1", True), (None, True), ("99.0.0", False)], ids=["older", "same", "newer"]
)
def test_a_second_copy_is_refused_with_both_folders_and_the_one_to_delete(
    copy: Path, caplog: pytest.LogCaptureFixture, version: str | None, spare_is_copy: bool
):
    if version:
        set_version(copy, version)
    host_nodes = importlib.import_module("nodes")
    nodes, web = dict(host_nodes.NODE_CLASS_MAPPINGS), dict(host_nodes.EXTENSION_WEB_DIRS)
    assert not load(copy)
    message = caplog.messages[-1]
    assert "ComfyUI-IMAGDressing is installed twice" in message
    assert f"{IN_USE} (version" in message and f"{copy} (version" in message
    assert f"Delete {copy if spare_is_copy else IN_USE} and restart ComfyUI." in message
    assert nodes == host_nodes.NODE_CLASS_MAPPINGS  # all nodes are of the first copy
    assert web == host_nodes.EXTENSION_WEB_DIRS  # and so are its help pages and scripts


def test_loading_the_same_folder_again_is_no_second_copy():
    assert load(IN_USE)


@pytest.mark.parametrize("gone", ["comfy_api", "comfy_api.latest"])
def test_a_comfyui_without_the_v3_api_is_told_its_oldest_version(
    copy: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, gone: str
):
    for name in [name for name in sys.modules if name == gone or name.startswith(f"{gone}.")]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert not load(copy)
    assert caplog.messages[-1].endswith(
        "ComfyUI-IMAGDressing needs ComfyUI 0.16.3 or newer; this one is older. Update ComfyUI."
    )


def test_a_comfyui_of_an_older_version_with_that_api_is_told_both_versions(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    comfyui_process.start()
    monkeypatch.setattr(importlib.import_module("comfyui_version"), "__version__", "0.3.68")
    assert not load(IN_USE)
    assert "needs ComfyUI 0.16.3 or newer; this is 0.3.68. Update ComfyUI." in caplog.messages[-1]


def test_an_incomplete_copy_is_not_taken_for_an_old_comfyui(copy: Path, caplog: pytest.LogCaptureFixture):
    shutil.rmtree(copy / "imagdressing_core")
    assert not load(copy)
    assert "imagdressing_core" in caplog.messages[-1]
    assert "Update ComfyUI" not in caplog.text
