"""One table of model files; the workflows and the pages name the same files, places, sizes, licences and sums."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.comfyui_release import REPOSITORY
from support.shipped import WORKFLOWS, nodes

from imagdressing_core.files.official_files import ALL_FILES, BASE_FILES, HUB, WORKFLOW_FILES, ModelFile

INSTALL_PAGE = REPOSITORY / "docs" / "install.md"
BY_NAME = {file.name: file for file in ALL_FILES}
# What the editor's missing-model dialog offers to download, in comfyui-frontend-package 1.47.12 (isModelDownloadable).
DOWNLOADABLE = (".safetensors", ".sft", ".ckpt", ".pth", ".pt")
MODEL_NAME = re.compile(r"[^/\\]+\.(safetensors|sft|ckpt|pth|pt|bin)")


def named_models(node: dict[str, Any]) -> set[str]:
    """Return the model files that a node's widgets name; saved garments come from the user."""
    values = node.get("widgets_values") or ()
    values = values.values() if isinstance(values, dict) else values
    found = {value for value in values if isinstance(value, str) and MODEL_NAME.fullmatch(value)}
    return set() if node["type"] == "IMAGDressingLoadGarment" else found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_loader_of_a_workflow_says_where_its_file_comes_from(path: Path):
    for node in nodes(path):
        models = {model["name"]: model for model in node.get("properties", {}).get("models", ())}
        assert named_models(node) <= set(models), node["type"]
        for name, model in models.items():
            assert (model["url"], model["directory"]) == (BY_NAME[name].url, BY_NAME[name].folder)


def test_the_workflows_name_every_file_of_theirs_and_no_other():
    assert WORKFLOWS
    named = {name for path in WORKFLOWS for node in nodes(path) for name in named_models(node)}
    assert named == {file.name for file in WORKFLOW_FILES}


@pytest.mark.parametrize("file", WORKFLOW_FILES, ids=lambda file: file.name)
def test_the_editor_offers_the_download(file: ModelFile):
    assert file.url.startswith(f"{HUB}/")
    assert file.name.endswith(DOWNLOADABLE)


def rows(page: Path) -> dict[str, list[str]]:
    """Return the cells of each table row of ``page`` whose first cell names a model file, by that name."""
    found: dict[str, list[str]] = {}
    for line in page.read_text().splitlines():
        cells = [cell.strip().replace("*", "").replace("`", "") for cell in line.strip("|").split("|")]
        name = re.match(r"\[?([^\]\s]+)", cells[0]) if line.startswith("|") else None
        if name and name[1] in BY_NAME:
            found[name[1]] = cells
    return found


@pytest.mark.parametrize(
    ("page", "files"), [(REPOSITORY / "README.md", BASE_FILES), (INSTALL_PAGE, ALL_FILES)], ids=["README", "install"]
)
def test_the_page_lists_them(page: Path, files: tuple[ModelFile, ...]):
    table = rows(page)
    assert set(table) == {file.name for file in files}
    for file in files:
        link, folder, size, licence = table[file.name][:4]
        assert f"{HUB}/{file.repository}" in link
        assert (folder, size, licence) == (file.folder, file.size, file.licence)
        if not file.source.endswith(file.name):
            assert f"{file.source.rpartition('/')[2]}, renamed" in link


def test_the_install_page_gives_the_sums_that_are_known():
    text = INSTALL_PAGE.read_text()
    for file in ALL_FILES:
        assert all(known.sha256 in text and f"{known.nbytes:,}" in text for known in file.published)
