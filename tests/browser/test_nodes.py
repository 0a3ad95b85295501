"""The nodes' widgets, widths and colours in both releases of the editor and both ways of drawing nodes."""

import pytest
from support.editor import Editor

OWN = "your own …"
LISTED = """([type, name]) => {
  const widget = app.graph.nodes.find((one) => one.type === type).widgets.find((one) => one.name === name)
  return [widget.type, widget.value, [...widget.options.values]]
}"""
VALUE = """(name) => app.graph.nodes[0].widgets.find((one) => one.name === name).value"""
IN_PROMPT = """async (name) => Object.values((await app.graphToPrompt()).output)[0].inputs[name]"""
CHOOSE = """([name, value]) => {
  const widget = app.graph.nodes[0].widgets.find((one) => one.name === name)
  widget.value = value
  widget.callback?.(value, app.canvas, app.graph.nodes[0])
}"""


def add(editor: Editor, node_type: str, *widgets: str | int | float | bool) -> None:
    """Open a workflow of one node; widgets: its saved values."""
    editor.run_javascript(
        """async ([type, values]) => {
            const node = { id: 1, type, pos: [100, 100], size: [400, 300], mode: 0, order: 0, flags: {} }
            if (values.length) node.widgets_values = values
            await app.loadGraphData({ version: 0.4, nodes: [node], links: [], last_node_id: 1, last_link_id: 0 })
        }""",
        [node_type, widgets],
    )
    editor.wait_until("() => app.graph.nodes.length === 1")


@pytest.mark.parametrize("name", ["layers", "schedule"])
def test_presets_are_listed_and_ones_own_text_is_asked_for(any_editor: Editor, name: str):
    add(any_editor, "IMAGDressingApplyAdvanced")
    kind, value, values = any_editor.run_javascript(LISTED, ["IMAGDressingApplyAdvanced", name])
    assert (kind, value) == ("combo", {"layers": "all", "schedule": "constant"}[name])
    assert {"ease in", "ease out", "ease in-out", OWN} <= set(values)
    any_editor.run_javascript(CHOOSE, [name, "ease out"])
    assert any_editor.run_javascript(IN_PROMPT, name) == "ease out"
    for answer, expected in (("0:1.0, 1:0.5", "0:1.0, 1:0.5"), (None, "0:1.0, 1:0.5")):
        any_editor.run_javascript(CHOOSE, [name, OWN])
        asked = any_editor.page.get_by_role("dialog").last.get_by_role("textbox")
        asked.wait_for()
        if answer is None:
            any_editor.page.keyboard.press("Escape")
        else:
            asked.fill(answer)
            asked.press("Enter")
        asked.wait_for(state="detached")
        any_editor.wait_until(f"() => ({VALUE})({name!r}) === {expected!r}")
        assert any_editor.run_javascript(IN_PROMPT, name) == expected


def test_a_text_that_an_earlier_workflow_saved_is_kept_and_listed(any_editor: Editor):
    saved = [1.0, 0.0, 1.0, "0:1.0, 5:0.5", "conditional", "broadcast", "0:1, 0.5:0.3"]
    add(any_editor, "IMAGDressingApplyAdvanced", *saved)
    for name, text in (("layers", "0:1.0, 5:0.5"), ("schedule", "0:1, 0.5:0.3")):
        _, value, values = any_editor.run_javascript(LISTED, ["IMAGDressingApplyAdvanced", name])
        assert value == text
        assert text in values
        assert any_editor.run_javascript(IN_PROMPT, name) == text
    assert any_editor.errors == []


def test_new_nodes_are_as_wide_as_their_titles(any_editor: Editor):
    narrow = any_editor.run_javascript(
        """() => {
            const pen = document.createElement("canvas").getContext("2d")
            pen.font = "14px sans-serif"
            const types = Object.keys(LiteGraph.registered_node_types).filter((one) => one.startsWith("IMAGDressing"))
            const made = types.map((type) => LiteGraph.createNode(type))
            return [made.length, made.filter((node) => node.size[0] < pen.measureText(node.title).width + 50).length]
        }"""
    )
    assert narrow[0] >= 12
    assert narrow[1] == 0


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_the_two_sockets_have_colours_of_their_own_in_every_palette(any_editor: Editor, palette: str):
    any_editor.run_javascript("(palette) => app.extensionManager.setting.set('Comfy.ColorPalette', palette)", palette)
    any_editor.page.wait_for_timeout(1000)
    colours = any_editor.run_javascript(
        """() => ["IMAGDRESSING_MODEL", "IMAGDRESSING_GARMENT"].flatMap((type) => [
            app.canvas.default_connection_color_byType[type],
            app.canvas.constructor.link_type_colors[type],
            getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${type}`).trim()
        ])"""
    )
    assert len(set(colours[:3])) == len(set(colours[3:])) == 1
    assert colours[0] != colours[3]
    assert all(colour.startswith("#") for colour in colours)


def test_rarely_used_inputs_are_marked_as_advanced(any_editor: Editor):
    add(any_editor, "IMAGDressingApply")
    advanced = any_editor.run_javascript(
        "() => app.graph.nodes[0].widgets.filter((one) => one.advanced ?? one.options?.advanced).map(({name}) => name)"
    )
    assert advanced == ["start_percent", "end_percent"]
