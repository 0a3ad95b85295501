"""Every language says what the English texts say: the same keys, values and lists, in its own words."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from imagdressing_core.application.strengths import LAYER_PRESETS, SCHEDULES
from imagdressing_core.images.preprocess import FITS

REPOSITORY = Path(__file__).resolve().parents[2]
LOCALES = REPOSITORY / "locales"
PAGES = REPOSITORY / "web" / "docs"

# The script that every text of a language is written in; Latin letters say nothing about the language.
SCRIPTS = {
    "zh": "[一-鿿]",
    "zh-TW": "[一-鿿]",
    "ja": "[぀-ヿ]",
    "ko": "[가-힣]",
    "ru": "[а-яё]",
    "ar": "[ء-ي]",
    "fa": "[ء-ی]",
    "he": "[א-ת]",
}
LANGUAGES = [*SCRIPTS, "fr", "es", "it", "pt-BR", "tr"]
PAGE_LANGUAGES = ["zh", "zh-TW", "ja", "ko", "ru", "fr", "es"]

CHOICES = ("conditional", "both", "broadcast", "one per image", "corrected", "published")
OPTIONS = {*FITS, *LAYER_PRESETS, *SCHEDULES, *CHOICES}
VALUE = re.compile(r"\w[\w./-]*\.(?:safetensors|pt|yaml)\b|models/\w+|summer/shirt|clip_vision|(?:SD|fp)?\d+(?:\.\d+)?")
SYNTAX = set("{}@|")  # what the editor's vue-i18n reads as placeholder, link or plural


@cache
def texts(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def leaves(tree: dict[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, *path, key)
        else:
            yield (*path, key), value


def sentences(language: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield (path, text, English text) of all but the names of inputs and outputs, which may be terms that stay."""
    for (path, text), (_, english) in zip(leaves(texts(language)), leaves(ENGLISH), strict=True):
        if path[-1] != "name":
            yield path, text, english


def page(node_id: str, language: str) -> str:
    path = PAGES / f"{node_id}.md" if language == "en" else PAGES / node_id / f"{language}.md"
    return path.read_text(encoding="utf-8")


ENGLISH = texts("en")
NODES = list(ENGLISH)
every_language = pytest.mark.parametrize("language", LANGUAGES)
every_page_language = pytest.mark.parametrize("language", PAGE_LANGUAGES)
every_page = pytest.mark.parametrize("node_id", NODES)


def values(text: str) -> set[str]:
    """What stays as it is in every language: files, numbers, values of options where they are listed or explained."""
    options = [name for name in OPTIONS if re.search(rf"(?:^|[.,:=] ){name}(?:[.,:;]|$)", text)]
    return {*VALUE.findall(text), *options}


def kept(text: str, value: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", text) is not None


def test_there_is_a_folder_for_each_language_and_no_other():
    assert {path.name for path in LOCALES.iterdir() if path.is_dir()} == {"en", *LANGUAGES}


@every_language
def test_the_keys_are_the_english_ones_in_the_same_order(language: str):
    assert [path for path, _ in leaves(texts(language))] == [path for path, _ in leaves(ENGLISH)]


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_no_text_is_missing_or_means_something_to_the_editors_message_syntax(language: str):
    for path, text in leaves(texts(language)):
        assert isinstance(text, str), path
        assert text.strip() == text != "", path
        assert not SYNTAX & set(text), path


@every_language
def test_everything_but_short_names_is_translated(language: str):
    for path, text, english in sentences(language):
        assert text != english, path
        assert re.search(SCRIPTS.get(language, "."), text, re.IGNORECASE), path


@every_language
def test_files_numbers_and_values_stay_as_they_are(language: str):
    for path, text, english in sentences(language):
        assert [value for value in values(english) if not kept(text, value)] == [], path


def test_two_inputs_of_one_node_never_have_one_name():
    for language in LANGUAGES:
        for node_id, node in texts(language).items():
            names = Counter(one["name"] for one in node["inputs"].values())
            assert max(names.values()) == 1, (language, node_id)


def test_every_node_has_its_pages_and_there_is_no_other():
    found = {str(path.relative_to(PAGES)) for path in PAGES.rglob("*.md")}
    assert found == {f"{node}.md" for node in NODES} | {f"{node}/{one}.md" for node in NODES for one in PAGE_LANGUAGES}


@every_page
def test_the_english_page_explains_every_input_and_output(node_id: str):
    text, node = page(node_id, "en"), ENGLISH[node_id]
    assert text.startswith(f"# {node['display_name']}\n")
    assert f"](images/{node_id}.png)" in text
    for name in [*node["inputs"], *(one["name"] for one in node.get("outputs", {}).values())]:
        assert f"\n- **{name}** " in text, name


@pytest.mark.parametrize("language", ["en", *PAGE_LANGUAGES])
@every_page
def test_a_page_has_no_table_which_would_not_fit_into_the_help_panel(node_id: str, language: str):
    assert not re.search(r"^\s*\|", page(node_id, language), re.MULTILINE)


@every_page_language
@every_page
def test_a_translated_page_explains_every_input_by_the_name_it_has_there(node_id: str, language: str):
    text, node = page(node_id, language), texts(language)[node_id]
    assert text.startswith(f"# {node['display_name']}\n")
    for input_id, one in node["inputs"].items():
        assert f"\n- **{one['name']}** `{input_id}`" in text, input_id


@every_page_language
@every_page
def test_a_translated_page_is_built_as_the_english_one(node_id: str, language: str):
    english, text = page(node_id, "en"), page(node_id, language)
    assert shape(text) == shape(english)
    assert Counter(kept_parts(text)) == Counter(kept_parts(english))
    assert not Counter(numbers(english)) - Counter(numbers(text))


def shape(text: str) -> list[str]:
    """Return the kind of each line that is a heading, list item or image."""
    return re.findall(r"^(?:#+ |- |!\[)", text, re.MULTILINE)


def kept_parts(text: str) -> list[str]:
    """Return code and link targets, without the ids that follow the translated names of inputs and outputs."""
    text = re.sub(r"^(- \*\*[^*\n]+(?<![:：])\*\*) `[^`\n]+`", r"\1", text, flags=re.MULTILINE)
    return re.findall(r"`[^`\n]+`|\]\([^)]+\)", text)


def numbers(text: str) -> list[str]:
    return [number.replace(",", ".") for number in re.findall(r"\d+(?:[.,]\d+)?", text)]
