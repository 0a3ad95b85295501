"""docs/troubleshooting.md starts from the words on the screen: every message of the nodes is there, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from support.comfyui_release import REPOSITORY

PAGE = REPOSITORY / "docs" / "troubleshooting.md"
# What the nodes reach; training, evaluation and the pipeline have pages of their own.
FOLDERS = ("nodes", "imagdressing_core/files", "imagdressing_core/images", "imagdressing_core/model")
OF_COMFYUI = ("IMPORT FAILED",)


def literal(node: ast.AST | None) -> str | None:
    """Return a text as it stands in the code, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(value.value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    return None


def sources(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


def messages() -> set[str]:
    """Return the texts with which the nodes raise IMAGDressingError, where they stand in the raise itself."""
    found: set[str] = set()
    for tree in sources(*FOLDERS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "IMAGDressingError" and node.args:
                text = literal(node.args[0])
                if text is not None and re.search(r"\w", text):
                    found.add(text)
    return found


def phrases() -> list[str]:
    """Return the words on the screen that the page starts from."""
    cells = (line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| *"))
    return [phrase for cell in cells for phrase in re.findall(r"\*([^*]+)\*", cell)]


def is_in(phrase: str, text: str) -> bool:
    """Return whether a text says the phrase, in which … stands for anything."""
    return re.search(".*".join(re.escape(part.strip()) for part in phrase.split("…")), text, re.DOTALL) is not None


def test_each_message_of_the_nodes_leads_to_the_page_by_its_own_words():
    missing = [text for text in messages() if not any(is_in(phrase, text) for phrase in phrases())]
    assert len(messages()) > 30
    assert missing == [], "\n".join(missing)


def test_each_word_on_the_page_is_one_that_the_code_says():
    texts: list[str] = []
    for tree in sources("nodes", "imagdressing_core"):
        for node in ast.walk(tree):
            text = literal(node)
            texts += [text] if text else []
    assert len(phrases()) > 50
    assert [one for one in phrases() if one not in OF_COMFYUI and not any(is_in(one, text) for text in texts)] == []


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", PAGE.read_text(encoding="utf-8")):
        assert (Path(PAGE.parent) / link).exists(), link
