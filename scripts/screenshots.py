"""The pictures of the README and the help pages, taken in the real editor.

Run as a script it takes them anew: ``docs/images`` and ``web/docs/images``.
"""

from playwright.sync_api import Browser
from support.comfyui_release import REPOSITORY
from support.comfyui_server import ComfyUIServer, serving
from support.editor import VIEW, Editor, browsing

from demo import measure
from demo.__main__ import SIZE, TEXT, demo_base

README_PICTURES = REPOSITORY / "docs" / "images"
HELP_PICTURES = REPOSITORY / "web" / "docs" / "images"
THUMBNAILS_SHOW = """() => {
    const images = [...document.querySelectorAll('[data-testid^="template-workflow-"] img')]
    const inSight = images.filter((image) => image.getBoundingClientRect().top < innerHeight)
    return inSight.length > 0 && inSight.every((image) => image.complete && image.naturalWidth > 0)
}"""


def take_all(server: ComfyUIServer, browser: Browser) -> None:
    nodes = [name for name, node in server.get("/object_info").items() if node["category"] == "IMAGDressing"]
    with Editor.opened(browser, server) as editor:
        for name in nodes:
            editor.show_alone(name)
            editor.set_widgets(name, garment_name="shirt_00001.safetensors")  # the list is empty here
            editor.screenshot(HELP_PICTURES / f"{name}.png", editor.nodes_box())
        editor.template_card("1 Dress a person (start here)").wait_for()
        editor.wait_until(THUMBNAILS_SHOW)
        editor.screenshot(README_PICTURES / "templates.jpg")
        editor.page.keyboard.press("Escape")
        editor.open_template("1 Dress a person (start here)")
        width, height = SIZE
        editor.set_widgets("Dress a Person", width=width, height=height, prompt=TEXT)
        editor.set_widgets("KSampler", steps=measure.STEPS, cfg=measure.GUIDANCE)
        editor.run()
        editor.fit_view()
        editor.screenshot(README_PICTURES / "workflow.jpg", editor.nodes_box())


if __name__ == "__main__":
    VIEW.update(width=2200, height=1200)
    with serving(base=demo_base(None)) as server, browsing() as browser:
        take_all(server, browser)
