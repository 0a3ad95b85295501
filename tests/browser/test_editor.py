"""What a user does in the editor: find, drag, connect, run, read."""

import pytest
from playwright.sync_api import Browser
from support.comfyui_server import ComfyUIServer
from support.editor import Editor

NODES = {
    "IMAGDressingModelLoader": "Load IMAGDressing Model",
    "IMAGDressingEncodeGarment": "Encode Garment",
    "IMAGDressingApply": "Apply Garment",
    "IMAGDressingApplyAdvanced": "Apply Garment (Advanced)",
    "IMAGDressingSaveGarment": "Save Garment",
    "IMAGDressingLoadGarment": "Load Garment",
    "IMAGDressingJoinGarments": "Join Garments",
    "IMAGDressingCropToMask": "Crop to Mask",
    "IMAGDressingInpaintControl": "Inpaint Control Image",
    "IMAGDressingPasteBack": "Paste Back",
    "IMAGDressingHeatMap": "Garment Heat Map",
    "IMAGDressingEvaluate": "Evaluate Garment Fidelity",
    "IMAGDressingConvertCheckpoint": "Convert Checkpoint",
}
BLUEPRINT = "Dress in Garment"


def test_all_nodes_of_the_pack_are_those_tested_here(server: ComfyUIServer):
    packs = {name for name, node in server.get("/object_info").items() if node["category"] == "IMAGDressing"}
    assert packs == set(NODES)


def test_every_node_is_found_by_its_name(editor: Editor):
    for name in NODES.values():
        assert name in editor.search(name)
    assert editor.errors == []


def test_the_words_of_the_trade_find_the_two_nodes_to_begin_with_before_the_others(editor: Editor):
    words = ("vton", "试穿", "衣服", "shirt", "try on", "magic clothing", "outfit", "clothes", "换装", "試着")
    for word in words:
        ours = [hit for hit in editor.search(word) if hit in NODES.values()]
        assert set(ours[:2]) == {"Encode Garment", "Apply Garment"}, (word, ours)
    assert {"Encode Garment", "Apply Garment"} <= set(editor.search("garment"))
    assert {"Inpaint Control Image", "Paste Back"} <= set(editor.search("inpaint"))


@pytest.mark.parametrize(("word", "blueprints"), [("dress", [BLUEPRINT, "Dress a Person"]), ("try on", ["Try On"])])
def test_blueprints_are_found_by_their_names(editor: Editor, word: str, blueprints: list[str]):
    # Their other search words reach no editor yet: of a pack's blueprints ComfyUI's server sends the name alone.
    assert set(editor.search(word)) >= set(blueprints)


def test_the_blueprint_is_in_the_list_of_nodes_and_works_when_dragged(editor: Editor):
    editor.drag_from_library(BLUEPRINT, (900, 400))
    inside = editor.run_javascript("() => app.graph.nodes[0].subgraph.nodes.map((node) => node.type).sort()")
    assert inside == ["IMAGDressingApply", "IMAGDressingEncodeGarment"]
    assert editor.errors == []


def test_nodes_are_dragged_onto_the_canvas_and_connected_by_their_sockets(editor: Editor):
    editor.drag_from_library("Load IMAGDressing Model", (620, 300))
    editor.drag_from_library("Encode Garment", (1000, 500))
    editor.drag_from_library("Apply Garment", (1400, 300))
    editor.connect(("IMAGDressingModelLoader", "imagdressing"), ("IMAGDressingEncodeGarment", "imagdressing"))
    editor.connect(("IMAGDressingEncodeGarment", "garment"), ("IMAGDressingApply", "garment"))
    editor.connect(("IMAGDressingEncodeGarment", "garment"), ("IMAGDressingApply", "model"))  # of another type: refused
    assert editor.links_into("IMAGDressingEncodeGarment") == {"imagdressing": "IMAGDressingModelLoader"}
    assert editor.links_into("IMAGDressingApply") == {"garment": "IMAGDressingEncodeGarment"}
    assert editor.errors == []


def test_the_base_workflow_runs_at_a_click_and_shows_what_it_did(editor: Editor):
    editor.open_template("Dress a person, node by node")
    make_small(editor)
    editor.run()
    assert editor.outcome == "execution_success"
    assert "official" in editor.text_in("IMAGDressingModelLoader")
    assert "64 × 80" in editor.text_in("IMAGDressingEncodeGarment")
    for node_type in ("IMAGDressingEncodeGarment", "SaveImage"):
        editor.wait_until("(type) => app.graph.nodes.find((node) => node.type === type).imgs?.[0].width", node_type)
    size = editor.run_javascript(
        "() => app.graph.nodes.filter((node) => node.type === 'SaveImage')"
        ".map(({ imgs: [one] }) => [one.naturalWidth, one.naturalHeight])"
    )
    assert size == [[64, 80]]
    editor.fit_view()
    assert editor.errors == []


def test_the_first_template_runs_at_a_click_and_its_seed_changes(editor: Editor):
    editor.open_template("1 Dress a person (start here)")
    make_small(editor)
    editor.set_widgets("Dress a Person", width=64, height=80)
    seed = "async () => Object.values((await app.graphToPrompt()).output).find(({ inputs }) => inputs.seed).inputs.seed"
    first = editor.run_javascript(seed)
    editor.run()
    assert editor.outcome == "execution_success"
    assert editor.run_javascript(seed) != first
    assert editor.errors == []


def test_a_workflow_of_subgraphs_runs(editor: Editor):
    editor.open_template("7 An outfit of two garments")
    make_small(editor)
    editor.set_widgets("Make the Image", width=64, height=80, steps=1)
    for title in ("Dress in the top", "Dress in the trousers"):
        editor.set_widgets(title, garment_width=64, garment_height=80)
    editor.run()
    assert editor.outcome == "execution_success"
    assert editor.errors == []


def test_what_is_wrong_stands_in_the_editor_in_words(editor: Editor):
    editor.open_template("Dress a person, node by node")
    make_small(editor)
    editor.set_widgets("IMAGDressingEncodeGarment", drop_background=True)
    editor.run()
    assert editor.outcome == "execution_error"
    editor.page.get_by_role("button", name="View details").click()
    said = "drop_background needs a mask: connect one that marks the garment, or switch it off."
    editor.page.get_by_text(f"imagdressing_core.IMAGDressingError: {said}").first.wait_for()


@pytest.mark.parametrize(("locale", "title"), [("en", "Apply Garment"), ("zh", None), ("ja", None)])
def test_help_opens_beside_the_node_in_the_users_language(
    server: ComfyUIServer, browser: Browser, locale: str, title: str | None
):
    with Editor.opened(browser, server, Comfy_Locale=locale) as editor:
        editor.run_javascript("() => app.graph.add(LiteGraph.createNode('IMAGDressingApply'))")
        shown = editor.run_javascript("() => app.graph.nodes[0].title")
        assert (shown == title) if title else shown.isascii() is False
        editor.select("IMAGDressingApply")
        editor.page.get_by_test_id("info-button").click()
        panel = editor.page.locator(".node-help-content")
        panel.get_by_role("heading", name=shown).first.wait_for()
        assert "strength" in panel.inner_text()
        editor.wait_until(
            "() => [...document.querySelectorAll('.node-help-content img')].every((one) => one.naturalWidth > 100)"
        )


def make_small(editor: Editor) -> None:
    """Change picture, garment and number of steps to what a CPU does quickly."""
    sizes = {"width": 64, "height": 80}
    editor.set_widgets("EmptyLatentImage", **sizes)
    editor.set_widgets("IMAGDressingEncodeGarment", **sizes)
    editor.set_widgets("KSampler", steps=1)
