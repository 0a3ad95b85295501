"""Converts a workflow from the form in which the editor saves it to the API form in which ComfyUI queues it.

The editor does this in the browser, which baselines, tests and demo do not have. It covers the features
that the shipped workflows use.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MUTED, BYPASSED = 2, 4
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
ONLY_IN_EDITOR = ("Note", "MarkdownNote")

Prompt = dict[str, dict[str, Any]]
"""A workflow in ComfyUI's API form: {node id: {"class_type": …, "inputs": …}}."""


def api_form(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Prompt:
    """Return the API form of ``workflow``. object_info: ComfyUI's answer to ``/object_info``."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: Prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in ONLY_IN_EDITOR or node["mode"] in (MUTED, BYPASSED):
            continue
        inputs = _widget_values(object_info[node["type"]], node.get("widgets_values", ()))
        inputs |= {socket["name"]: sources[socket["link"]] for socket in node["inputs"] if socket.get("link")}
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": {name: value for name, value in inputs.items() if not name.startswith("*")},
        }
    return prompt


def _widget_values(info: Mapping[str, Any], saved: Sequence[Any]) -> dict[str, Any]:
    """Return the node's widgets by name; as in the editor, those newer than the saved workflow take their default."""
    widgets = list(_widgets(info))
    newer = [default for _, default in widgets[len(saved) :]]
    return dict(zip((name for name, _ in widgets), (*saved, *newer), strict=True))


def _widgets(info: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (name, default) in the order of ``widgets_values``; what only the editor has begins with ``*``."""
    upload = False
    for required in ("required", "optional"):
        for name in info["input_order"].get(required, ()):
            kind, *options = info["input"][required][name]
            settings = options[0] if options else {}
            if not (isinstance(kind, list) or kind in WIDGET_TYPES) or settings.get("forceInput"):
                continue
            yield name, settings.get("default")
            if settings.get("control_after_generate"):
                yield f"*{name} control", "fixed"
            upload = upload or settings.get("image_upload", False)
    if upload:
        yield "*upload", "image"
