"""The texts reach the editor through the routes that it asks: /i18n, help pages with their fallback, search aliases."""

import json

import pytest
import requests
from support.comfyui_server import ComfyUIServer

import locales

LANGUAGES = sorted(path.name for path in locales.LOCALES.iterdir() if path.is_dir())
PAGES = locales.LOCALES.parent / "web" / "docs"
NODES = list(json.loads(locales.NODE_TEXTS.read_text(encoding="utf-8")))


def help_page(server: ComfyUIServer, node_id: str, name: str) -> requests.Response:
    """Ask for a help page where the editor looks for it: below the module's name in /object_info."""
    module = server.get(f"/object_info/{node_id}")[node_id]["python_module"].removeprefix("custom_nodes.")
    return requests.get(f"{server.url}/extensions/{module}/docs/{name}.md", timeout=60)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_editor_gets_all_texts_of_the_nodes(server: ComfyUIServer, language: str):
    written = json.loads((locales.LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    served = server.get("/i18n")[language]["nodeDefs"]
    assert {node_id: served.get(node_id) for node_id in written} == written


@pytest.mark.parametrize("node_id", NODES)
def test_the_help_page_comes_in_each_language_and_in_english_for_all_others(server: ComfyUIServer, node_id: str):
    for language in LANGUAGES:
        translated = help_page(server, node_id, f"{node_id}/{language}")
        if not (PAGES / node_id / f"{language}.md").exists():  # the editor then asks for the page beside the folder
            assert translated.status_code == 404
            translated = help_page(server, node_id, node_id)
        translated.encoding = "utf-8"
        assert translated.status_code == 200
        assert "text/html" not in translated.headers["content-type"]  # which the editor takes for a missing page
        assert f"](images/{node_id}.png)" in translated.text


def test_the_two_nodes_to_begin_with_are_found_by_what_people_search_for_and_no_other_before_them(
    server: ComfyUIServer,
):
    wanted = {"virtual try-on", "try on", "vton", "dress", "outfit", "clothes", "shirt", "magic clothing"}
    wanted |= {"换装", "试穿", "衣服", "試着", "虚拟试衣", "가상 피팅"}
    aliases = {node_id: set(server.get(f"/object_info/{node_id}")[node_id]["search_aliases"]) for node_id in NODES}
    first = {node_id for node_id, own in aliases.items() if own & wanted}
    assert first == {"IMAGDressingEncodeGarment", "IMAGDressingApply"}
    assert all(wanted <= aliases[node_id] for node_id in first)
    assert all(aliases.values())
