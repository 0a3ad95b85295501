"""The English texts that translators work from are those that the nodes declare."""

import json

import locales


def test_the_english_texts_are_what_the_nodes_declare():
    written = json.loads(locales.NODE_TEXTS.read_text(encoding="utf-8"))
    assert written == locales.node_texts(), "The nodes have changed: run scripts/locales.py, then translate."
