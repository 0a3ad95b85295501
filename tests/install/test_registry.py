"""What the Comfy registry wants of a pack, checked and packed by its own tool; the archive works in ComfyUI.

Specification: https://docs.comfy.org/registry/specifications
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from comfy_cli.registry.config_parser import extract_node_configuration
from PIL import Image
from support import fresh
from support.comfyui_release import PACK_NAME, REPOSITORY
from support.comfyui_server import serving
from support.contract import RELEASED
from support.shipped import WORKFLOWS, nodes
from support.shipped_prompts import make_small, shipped_prompt

ICON, BANNER = REPOSITORY / "docs" / "icon.png", REPOSITORY / "docs" / "banner.png"
ICON_LIMIT = 400
FOLDERS = ("nodes", "imagdressing_core", "web", "locales", "workflows", "subgraphs")
FILES = ("__init__.py", "pyproject.toml", "requirements.txt", "README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE")
COMMANDS = ("__main__.py", "scripts/download_models.py")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository, as the publishing workflow has it."""
    return fresh.clone(fresh.base(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="module")
def archive(pack: Path) -> zipfile.ZipFile:
    """What the registry would give to users."""
    comfy(pack, "pack")
    return zipfile.ZipFile(pack / "node.zip")


def comfy(pack: Path, *arguments: str) -> str:
    """Run comfy-cli's ``node`` command in ``pack``; it reports nothing, and keeps out of the user's home."""
    environment = os.environ | {"DO_NOT_TRACK": "1", "HOME": str(pack.parents[2])}
    command = [sys.executable, "-m", "comfy_cli", "--skip-prompt", "node", *arguments]
    result = subprocess.run(command, cwd=pack, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_comfy_cli_finds_nothing_to_object_to(pack: Path):
    report = comfy(pack, "validate")
    assert "All validation checks passed" in report
    assert "arning" not in report


def test_comfy_cli_reads_all_fields(capsys: pytest.CaptureFixture[str]):
    config = extract_node_configuration(str(REPOSITORY / "pyproject.toml"))
    assert config is not None
    assert "Warning" not in capsys.readouterr().out
    project, comfy = config.project, config.tool_comfy
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", project.name) and len(project.name) < 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", project.version)
    assert (REPOSITORY / project.license.file).read_text().lstrip().startswith("Apache License")
    assert project.dependencies == (REPOSITORY / "requirements.txt").read_text().split()
    assert project.supported_os == ["OS Independent"]
    assert project.supported_comfyui_version == ">=0.16.3"
    assert project.description and project.requires_python and comfy.display_name


def test_workflows_name_the_pack_that_has_their_nodes():
    """By this the Manager finds it for someone who opens a workflow without having the pack."""
    config = extract_node_configuration(str(REPOSITORY / "pyproject.toml"))
    ours = [node for path in WORKFLOWS for node in nodes(path) if node["type"].startswith("IMAGDressing")]
    assert ours
    assert {node["properties"].get("cnr_id") for node in ours} == {config.project.name if config else None}


def test_icon_and_banner_are_what_the_registry_shows():
    with Image.open(ICON) as icon, Image.open(BANNER) as banner:
        assert (icon.format, banner.format) == ("PNG", "PNG")
        assert icon.width == icon.height <= ICON_LIMIT
        assert banner.width * 9 == banner.height * 21


def test_the_archive_holds_what_runs_and_no_more(pack: Path, archive: zipfile.ZipFile):
    held = {f"{folder}/{path}" for folder in FOLDERS for path in fresh.content(pack / folder)}
    assert set(archive.namelist()) == {*held, *FILES, *COMMANDS}


def test_the_archive_dresses_a_person_in_the_real_comfyui(archive: zipfile.ZipFile, tmp_path: Path):
    base = fresh.with_synthetic_models(fresh.base(tmp_path / "base"))
    archive.extractall(base / "custom_nodes" / PACK_NAME)
    with serving(base=base) as server:
        assert set(RELEASED) <= set(fresh.pack_nodes(server)), server.log.read_text()
        workflows = base / "custom_nodes" / PACK_NAME / "workflows"
        prompt = shipped_prompt(server, workflows / "1 Dress a person (start here).json")
        make_small(prompt, steps=1)
        result = server.run(prompt)
        assert result.error is None, result.error
        assert len(result.images) == 1


def test_the_archives_own_download_command_runs(archive: zipfile.ZipFile, tmp_path: Path):
    archive.extractall(tmp_path / "installed")
    command = [sys.executable, "-I", str(tmp_path / "installed"), str(tmp_path), "--list"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "models/imagdressing/IMAGDressing-v1_512.pt" in result.stdout
