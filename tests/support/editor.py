"""The editor in a real browser, worked with mouse and keyboard as a user does: for browser tests and screenshots."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from support.comfyui_server import ComfyUIServer, Prompt

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
VIEW = {"width": 1800, "height": 1100}
# What a first visit would put in the way: the tutorial's template browser and the notes of ComfyUI's release.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Release.Status": "what's new seen",
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Locale": "en",
}
START_MS, STEP_MS, RUN_MS, SETTLE_MS = 120_000, 30_000, 300_000, 1_000

Point = tuple[float, float]


def browser_path() -> str:
    """Return a Chromium or Chrome of this machine; ``CHROMIUM`` names one."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError(
            f"None of {', '.join(BROWSERS)} was found. Install one (on Debian and Ubuntu `make browser` does), or set "
            "CHROMIUM to the path of one."
        )
    return found


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=QUIET)
        yield browser
        browser.close()


@dataclass
class Editor:
    """One tab of the editor. errors: what the page has complained of since it was up, in its console or thrown."""

    page: Page
    errors: list[str] = field(default_factory=list)

    @staticmethod
    @contextlib.contextmanager
    def opened(
        browser: Browser, server: ComfyUIServer, view: dict[str, int] = VIEW, **settings: Any
    ) -> "Iterator[Editor]":
        """Open a tab of size ``view``; settings are the editor's own, with ``_`` for the dots in their names."""
        changed = {name.replace("_", "."): value for name, value in settings.items()}
        requests.post(f"{server.url}/settings", json=SETTINGS | changed, timeout=60).raise_for_status()
        context = browser.new_context(viewport=view)  # pyright: ignore[reportArgumentType]
        editor = Editor(context.new_page())
        editor.page.set_default_timeout(STEP_MS)
        editor.page.goto(server.url)
        editor.page.wait_for_function("window.app?.extensionManager && app.graph && app.canvas", timeout=START_MS)
        editor.page.get_by_test_id("queue-button").wait_for(timeout=START_MS)
        editor.run_javascript("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
        editor.wait_until("() => app.graph.nodes.length === 0")
        editor.page.on("console", editor._note)
        editor.page.on("pageerror", lambda error: editor.errors.append(str(error)))
        yield editor
        context.close()

    def _note(self, message: ConsoleMessage) -> None:
        source = message.location.get("url", "") if message.location else ""
        if message.type == "error" and (not source or "//127.0.0.1" in source):
            self.errors.append(f"{message.text} ({source})")

    def run_javascript(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def wait_until(self, condition: str, argument: Any = None, timeout: float = STEP_MS) -> None:
        """Wait until a JavaScript function of ``argument`` returns something true."""
        self.page.wait_for_function(condition, arg=argument, timeout=timeout)

    # Templates

    def template_card(self, name: str) -> Locator:
        """Open the template browser at this pack, and return the card of a template."""
        page = self.page
        if not page.get_by_test_id("template-workflows-content").is_visible():
            page.get_by_test_id("side-toolbar").get_by_text("Templates").click()
            extensions = page.get_by_text(re.compile("^extensions$", re.IGNORECASE))
            extensions.wait_for()
            page.wait_for_timeout(SETTLE_MS)
            pack = page.get_by_text("ComfyUI-IMAGDressing").first
            if not pack.is_visible():
                extensions.click()
            pack.click()
        return page.get_by_test_id(f"template-workflow-{name}")

    def open_template(self, name: str) -> None:
        self.template_card(name).click()
        self.page.get_by_test_id("template-workflows-content").wait_for(state="hidden")
        self.wait_until("() => app.graph.nodes.length > 0")
        self.fit_view()

    # Nodes

    def search(self, text: str) -> list[str]:
        """Double-click the canvas, type, and return the first line of every hit."""
        box = self.page.get_by_test_id("search-category-custom")
        while not box.is_visible():  # on a busy machine two clicks may be too far apart to count as one
            self.page.mouse.dblclick(VIEW["width"] / 2, VIEW["height"] / 2)
            self.page.wait_for_timeout(SETTLE_MS)
        self.page.keyboard.type(text)
        hits = self.page.get_by_test_id("result-item")
        hits.first.wait_for()
        self.page.wait_for_timeout(SETTLE_MS)  # the list follows the typing
        found = [hit.splitlines()[0] for hit in hits.all_inner_texts()]
        self.page.keyboard.press("Escape")
        box.wait_for(state="hidden")
        return found

    def drag_from_library(self, name: str, to: Point) -> None:
        """Drag a node from the list of nodes onto the canvas."""
        box = self.page.get_by_placeholder("Search").first
        if not box.is_visible():
            self.page.get_by_test_id("side-toolbar").get_by_text("Nodes").click()
        box.fill(name)
        entry = self.page.get_by_text(name, exact=True).first
        entry.wait_for()
        self.page.wait_for_timeout(SETTLE_MS)  # the list follows the typing
        before = self.run_javascript("() => app.graph.nodes.length")
        self._drag(self._middle(entry), to)
        self.wait_until("(before) => app.graph.nodes.length > before", before)

    def connect(self, output: tuple[str, str], input: tuple[str, str]) -> None:
        """Drag a link with the mouse. output, input: (node type, name of its socket)."""
        self._drag(self.socket(*output, "output"), self.socket(*input, "input"))

    def socket(self, node_type: str, name: str, side: str) -> Point:
        """Return where on the screen a socket is."""
        return self.run_javascript(
            """([type, name, side]) => {
                const node = app.graph.nodes.find((one) => one.type === type)
                const isInput = side === "input"
                const slot = (isInput ? node.inputs : node.outputs).findIndex((one) => one.name === name)
                const at = node.getConnectionPos(isInput, slot)
                const { scale, offset } = app.canvas.ds
                const canvas = app.canvas.canvas.getBoundingClientRect()
                return [canvas.left + (at[0] + offset[0]) * scale, canvas.top + (at[1] + offset[1]) * scale]
            }""",
            [node_type, name, side],
        )

    def links_into(self, node_type: str) -> dict[str, str]:
        """Return, by input, the type of the node that each linked input of a node comes from."""
        return self.run_javascript(
            """(type) => {
                const node = app.graph.nodes.find((one) => one.type === type)
                const linked = node.inputs.map((input, i) => [input.name, node.getInputNode(i)?.type])
                return Object.fromEntries(linked.filter(([, source]) => source))
            }""",
            node_type,
        )

    def select(self, node_type: str) -> None:
        self.run_javascript(
            "(type) => app.canvas.selectNode(app.graph.nodes.find((one) => one.type === type))", node_type
        )

    def set_widgets(self, node_type: str, **values: Any) -> None:
        """Set widgets of all nodes of a type, those within subgraphs too."""
        self.run_javascript(
            """([type, values]) => {
                const graphs = [app.graph, ...(app.graph.subgraphs?.values() ?? [])]
                for (const node of graphs.flatMap((graph) => graph.nodes)) {
                    if (node.type !== type && node.title !== type) continue
                    for (const widget of node.widgets ?? []) {
                        if (widget.name in values) widget.value = values[widget.name]
                    }
                }
                app.canvas.setDirty(true, true)
            }""",
            [node_type, values],
        )

    def text_in(self, node_type: str) -> str:
        """Return what a node of the pack says below its widgets."""
        return self.run_javascript(
            """(type) => (app.graph.nodes.find((one) => one.type === type).widgets ?? [])
                .filter((widget) => widget.name === "imagdressing_said").map((widget) => widget.value).join("\\n")""",
            node_type,
        )

    def show_alone(self, node_type: str, scale: float = 1.25) -> None:
        """Clear the canvas and put one node on it."""
        self.run_javascript(
            """([type, scale]) => {
                app.graph.clear()
                const node = LiteGraph.createNode(type)
                node.pos = [400, 150]
                app.graph.add(node)
                Object.assign(app.canvas.ds, { scale, offset: [0, 0] })
                app.canvas.setDirty(true, true)
            }""",
            [node_type, scale],
        )
        self.page.wait_for_timeout(SETTLE_MS)

    def nodes_box(self, margin: float = 16) -> dict[str, float]:
        """Return the part of the screen that all nodes take with their badges, for a screenshot."""
        return self.run_javascript(
            """(margin) => {
                const boxes = app.graph.nodes.map((node) => node.boundingRect)
                const [left, top] = [0, 1].map((side) => Math.min(...boxes.map((box) => box[side])))
                const [right, bottom] = [0, 1].map((side) => Math.max(...boxes.map((box) => box[side] + box[side + 2])))
                const { scale, offset } = app.canvas.ds
                const canvas = app.canvas.canvas.getBoundingClientRect()
                return {
                    x: canvas.left + (left + offset[0]) * scale - margin,
                    y: canvas.top + (top + offset[1]) * scale - 2 * margin,
                    width: (right - left) * scale + 2 * margin,
                    height: (bottom - top) * scale + 3 * margin
                }
            }""",
            margin,
        )

    # Running

    def run_command(self, name: str) -> None:
        """Run a command of the editor's, as its key or menu would."""
        self.run_javascript("(name) => app.extensionManager.command.execute(name)", name)

    def load_prompt(self, prompt: Prompt) -> None:
        """Lay out a prompt in the API's form as a workflow, as dropping its file on the canvas does."""
        self.run_javascript("(prompt) => app.loadApiJson(prompt, 'prompt')", prompt)
        self.wait_until("(count) => app.graph.nodes.length === count", len(prompt))
        self.fit_view()

    def run(self) -> None:
        """Press Run and wait until the queue is empty again; a failure ends it too."""
        self.run_javascript(
            """() => {
                window.ended = null
                const { api } = app
                for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) {
                    api.addEventListener(kind, (event) => (window.ended = kind), { once: true })
                }
            }"""
        )
        self.page.get_by_test_id("queue-button").click()
        self.wait_until("() => window.ended", timeout=RUN_MS)

    @property
    def outcome(self) -> str:
        """Return how the last run ended: ``execution_success``, or what else."""
        return self.run_javascript("() => window.ended")

    def fit_view(self) -> None:
        self.run_javascript("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(SETTLE_MS)  # it glides

    def screenshot(self, path: Path, clip: Any = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, clip=clip)

    def _middle(self, element: Locator) -> Point:
        box = element.bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def _drag(self, start: Point, end: Point) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=5)
        mouse.move(*end, steps=5)
        mouse.up()
