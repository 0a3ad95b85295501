"""What the editor draws of a workflow: the boxes of its nodes, and the size of their text on the screen."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from support.editor import Editor

Box = tuple[float, float, float, float]
"""Left, top, right, bottom on the screen, in pixels."""

CANVAS_TEXT = 12  # the classic canvas draws the text of widgets so large; titles and sockets are larger

# A box of Nodes 2.0 takes in what sticks out of it, as the footer of a node whose model is missing does. The text of a
# prompt and its name are left out: their size is a setting of the user's (Comfy.TextareaWidget.FontSize).
MEASURE = """() => {
    const { scale, offset } = app.canvas.ds
    const canvas = app.canvas.canvas.getBoundingClientRect()
    const hides = (element) => getComputedStyle(element).overflow !== "visible"
    const { min, max } = Math
    const grown = (element, box) => {
        const own = element.getBoundingClientRect()
        const [left, top, right, bottom] = box
        if (own.width && own.height)
            box = [min(left, own.left), min(top, own.top), max(right, own.right), max(bottom, own.bottom)]
        return hides(element) ? box : [...element.children].reduce((box, child) => grown(child, box), box)
    }
    const isNote = (element) => element.closest(".comfy-markdown, .comfy-markdown-content")
    const isOfAPrompt = (element) => !isNote(element) && element.closest("div")?.querySelector("textarea")
    const texts = (element) => {
        const found = []
        const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
        while (walk.nextNode()) {
            const { data, parentElement } = walk.currentNode
            const range = document.createRange()
            range.selectNodeContents(walk.currentNode)
            const { opacity, visibility, fontSize } = getComputedStyle(parentElement)
            const isDrawn = range.getBoundingClientRect().height > 0 && visibility !== "hidden" && opacity !== "0"
            if (!data.trim() || !isDrawn || isOfAPrompt(parentElement)) continue
            found.push([data.trim(), parseFloat(fontSize) * scale])
        }
        return found
    }
    const boxes = app.graph.nodes.map((node) => {
        const element = document.querySelector(`[data-node-id="${node.id}"]`)
        if (element) return [node.title, grown(element, [Infinity, Infinity, -Infinity, -Infinity])]
        const [x, y, width, height] = node.boundingRect
        const [left, top] = [canvas.left + (x + offset[0]) * scale, canvas.top + (y + offset[1]) * scale]
        return [node.title, [left, top, left + width * scale, top + height * scale]]
    })
    const written = [...document.querySelectorAll("[data-node-id], .dom-widget")].flatMap(texts)
    const notes = [...document.querySelectorAll(".comfy-markdown .tiptap, .comfy-markdown-content")]
    const isCut = (note) => note.clientHeight > 0 && note.scrollHeight > note.clientHeight + 3
    return { scale, boxes, written, cut: notes.filter(isCut).map((note) => note.innerText.slice(0, 40)) }
}"""

# What the server tells the editor after a run, with an image of the input folder in place of the one that was made.
FINISH = """([image, texts]) => {
    const images = [{ filename: image, subfolder: "", type: "input" }]
    for (const node of app.graph.nodes) {
        const output = { imagdressing: texts[node.type] }
        if (/^(Save|Preview)Image$|^MaskPreview$|EncodeGarment$/.test(node.type)) output.images = images
        const id = String(node.id)
        app.api.dispatchCustomEvent("executed", { node: id, display_node: id, output, prompt_id: "stand-in" })
    }
}"""
SAYS = {
    "IMAGDressingModelLoader": ["Loaded (official format) in float16: 3.66 GB of memory."],
    "IMAGDressingEncodeGarment": [
        "Encoded 1 image at 512 × 640: 116 MB.",
        "The transparent part of the image became background.",
    ],
    "IMAGDressingLoadGarment": ["1 image of 512 × 640 pixels, fit official, from IMAGDressing-v1_512.pt"],
}


@dataclass(frozen=True)
class Rendered:
    """One look at the editor.

    Attributes:
        scale: The zoom.
        boxes: By node, its title and its box.
        written: Each text in a node and its size on the screen, in pixels.
        cut: The beginning of each note that does not fit into its box.
    """

    scale: float
    boxes: list[tuple[str, Box]]
    written: list[tuple[str, float]]
    cut: list[str]

    @property
    def overlaps(self) -> list[tuple[str, str]]:
        pairs = combinations(self.boxes, 2)
        return [(one, other) for (one, box), (other, second) in pairs if _overlap(box, second)]

    @property
    def smallest_text(self) -> float:
        return min([CANVAS_TEXT * self.scale, *(size for _, size in self.written)])


def load_workflow(editor: Editor, workflow: dict[str, Any]) -> None:
    """Open a workflow as the template browser does: the view fits it by itself, one of a known name where it was."""
    editor.run_javascript("() => { app.nodeOutputs = {} }")
    editor.run_javascript("(it) => app.loadGraphData(it, true, true, it.id, { openSource: 'template' })", workflow)
    editor.page.wait_for_timeout(1500)  # it glides, and images arrive


def rendered(editor: Editor) -> Rendered:
    seen = editor.run_javascript(MEASURE)
    boxes = [(title, tuple(box)) for title, box in seen["boxes"]]
    return Rendered(seen["scale"], boxes, [tuple(text) for text in seen["written"]], seen["cut"])


def finish(editor: Editor, image: str) -> None:
    """Show ``image`` in all nodes that show one, and the texts of this pack's nodes, as after a run."""
    editor.run_javascript(FINISH, [image, SAYS])
    editor.page.wait_for_timeout(1500)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
