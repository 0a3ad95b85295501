"""The core's rooms import one way: from their own room and from lower floors (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "imagdressing_core"
# From the ground up. Two rooms of one floor stand in the order in which one may import the other.
FLOORS = (
    "__version__",
    "errors",
    "command_line",
    "images",
    "model",
    "files",
    "application",
    "on_diffusers",
    "metrics",
    "training",
    "baselines",
    "catalogue",
)
MODULES = [path for path in sorted(CORE.rglob("*.py")) if path != CORE / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(CORE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms that a module imports from, its own included. Imports inside the core are relative."""
    package = path.relative_to(CORE).parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - (node.level - 1)]
            inside = (*above, *(node.module or "").split(".")) if node.module else above
            found |= {inside[0]} if inside else {name.name for name in node.names}
    return found


def test_every_room_has_its_floor():
    assert {room(path) for path in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(CORE).as_posix())
def test_a_module_imports_nothing_from_above(path: Path):
    assert [one for one in imported_rooms(path) if FLOORS.index(one) > FLOORS.index(room(path))] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(CORE).as_posix())
def test_a_module_imports_no_comfyui(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    comfyui = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "execution"}
    assert comfyui.isdisjoint(name.partition(".")[0] for name in imported)
