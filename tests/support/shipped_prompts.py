"""The shipped workflows as prompts: in API form, with their input images brought to ComfyUI, made small for a CPU."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagdressing_core.baselines.workflow_api import api_form
from support.comfyui_release import REPOSITORY
from support.comfyui_server import ComfyUIServer, Prompt

IMAGES = REPOSITORY / "workflows" / "input"
PHOTOGRAPH_OF_A_FACE = "photograph_of_a_face.png"  # the user's own: no detector finds a face in what is drawn
WORKFLOW = REPOSITORY / "workflows" / "Dress a person, node by node.json"


def shipped_prompt(server: ComfyUIServer, path: Path = WORKFLOW, info: Mapping[str, Any] | None = None) -> Prompt:
    """Return a workflow as the editor would queue it. info: definitions of nodes that ComfyUI lacks."""
    prompt = api_form(json.loads(path.read_text()), server.get("/object_info") | (info or {}))
    for node in prompt.values():
        if node["class_type"] in ("LoadImage", "LoadImageMask") and node["inputs"]["image"] != PHOTOGRAPH_OF_A_FACE:
            server.upload(IMAGES / node["inputs"]["image"])
    return prompt


def make_small(prompt: Prompt, width: int = 64, height: int = 80, steps: int = 2) -> Prompt:
    """Change image, garment and number of steps to what a CPU does quickly; return the prompt."""
    sizes = {"width": width, "height": height}
    changes = {"EmptyLatentImage": sizes, "IMAGDressingEncodeGarment": sizes, "KSampler": {"steps": steps}}
    for node in prompt.values():
        node["inputs"] |= changes.get(node["class_type"], {})
    return prompt
