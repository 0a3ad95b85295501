"""Every shipped workflow as the editor's template browser offers it."""

import pytest
from support.editor import Editor
from support.shipped import WORKFLOWS
from support.shipped_prompts import PHOTOGRAPH_OF_A_FACE

TEMPLATES = [path.stem for path in WORKFLOWS]
# Nodes of another pack, by the workflow whose note says how to get it; and whose face is the user's to choose.
OTHER_PACKS = {"A face and a pose (needs another pack)": {"IPAdapterUnifiedLoaderFaceID", "IPAdapterFaceID"}}


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_opens_with_its_thumbnail_its_images_and_all_its_nodes(editor: Editor, name: str):
    card = editor.template_card(name)
    card.scroll_into_view_if_needed()
    editor.wait_until("(card) => card.querySelector('img')?.naturalWidth === 512", card.element_handle())
    editor.open_template(name)
    unknown = editor.run_javascript(
        "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"
    )
    assert set(unknown) == OTHER_PACKS.get(name, set())
    editor.wait_until(
        "(chosen) => app.graph.nodes.filter((node) => node.type.startsWith('LoadImage'))"
        ".filter((node) => !chosen.includes(node.widgets[0].value)).every((node) => node.imgs?.[0]?.naturalWidth > 0)",
        [PHOTOGRAPH_OF_A_FACE],
    )
    assert [error for error in editor.errors if PHOTOGRAPH_OF_A_FACE not in error] == []
