"""The documentation names only what exists: files, functions, pages, headings."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAP = REPOSITORY / "docs" / "architecture.md"
FOLDERS = ("", "docs", "locales", ".github")
PAGES = [page for folder in FOLDERS for page in sorted((REPOSITORY / folder).glob("*.md"))]
PATH = re.compile(
    r"(?<![\w/.-])(?:benchmarks|demo|docs|fuzz|imagdressing_core|locales|nodes|scripts|subgraphs|tests|web|workflows)/[\w./-]*"
)
NAME = re.compile(r"[A-Za-z_]\w+(?:\.\w+)?")
COMFYUI_NAMES = {"OUTER_SAMPLE", "CALC_COND_BATCH", "APPLY_MODEL", "create_cond_with_same_area_if_none"}


@cache
def names_in(path: Path) -> set[str]:
    """Return the functions, classes, methods (``Class.method``) and constants that a module defines."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def rows() -> list[str]:
    return [line for line in MAP.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_file_that_a_page_names_exists(page: Path):
    files = {path.rstrip(".-") for path in PATH.findall(page.read_text(encoding="utf-8"))}
    assert [path for path in sorted(files) if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("row", [row for row in rows() if ".py`" in row])
def test_every_name_on_the_map_stands_in_a_file_of_its_row(row: str):
    spans = re.findall(r"`([^`]+)`", row)
    modules = [REPOSITORY / span for span in spans if span.endswith(".py") and "/" in span]
    known = COMFYUI_NAMES.union(*(names_in(module) for module in modules))
    assert [span for span in spans if NAME.fullmatch(span) and not span.endswith(".py") and span not in known] == []


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in headings(linked), target
