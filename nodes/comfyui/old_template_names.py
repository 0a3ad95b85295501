"""Links such as ``?template=try_on`` go on opening the template that once had that name."""

import sys
from pathlib import Path
from typing import Any

PACK = Path(__file__).parents[2].name
# ComfyUI lists every file of the folder, so that a copy under the old name would be in the list twice.
RENAMED = {
    "garment_to_person": "Dress a person, node by node",
    "try_on": "2 Try on a person",
    "pose": "5 Dress in a pose",
    "outfit": "7 An outfit of two garments",
    "outfit_subgraph": "7 An outfit of two garments",
    "wardrobe_fill": "8 A wardrobe and a lookbook",
    "wardrobe": "9 Dress from the wardrobe",
    "high_resolution": "A larger image in two passes",
    "style": "Another style",
    "face_and_pose": "A face and a pose (needs another pack)",
}


def keep_old_names() -> None:
    """Tell ComfyUI's server where the renamed templates are; without a server there is nothing to tell."""
    module = sys.modules.get("server")
    server = getattr(getattr(module, "PromptServer", None), "instance", None)
    if module is None or server is None:
        return
    for old, new in RENAMED.items():
        # Its address is longer than the one under which ComfyUI serves the folder, so the server looks here first.
        server.routes.get(f"/workflow_templates/{PACK}/{old}.json")(_moved_to(f"{new}.json", module.web))


def _moved_to(place: str, web: Any) -> Any:
    """Return what answers a request; web: aiohttp's, as ComfyUI's server has it."""

    async def answer(_: Any) -> Any:
        raise web.HTTPMovedPermanently(place)

    return answer
