"""Converts a workflow from the form in which the editor saves it to the API form in which ComfyUI queues it.

The editor does this in the browser, which baselines, tests and demo do not have. It covers the features
that the shipped workflows use.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20  # the ids by which a subgraph's links name its own sockets
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
ONLY_IN_EDITOR = ("Note", "MarkdownNote")

Prompt = dict[str, dict[str, Any]]
"""A workflow in ComfyUI's API form: {node id: {"class_type": …, "inputs": …}}."""


def api_form(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Prompt:
    """Return the API form of ``workflow``. object_info: ComfyUI's answer to ``/object_info``.

    A node inside a subgraph gets the id that the editor gives it, ``"<id of the subgraph's node>:<its own id>"``.
    """
    definitions = {each["id"]: each for each in workflow.get("definitions", {}).get("subgraphs", ())}
    links = {link[0]: (link[1], link[2]) for link in workflow["links"]}
    top = _Level("", {node["id"]: node for node in workflow["nodes"]}, links, [], {})
    prompt: Prompt = {}
    for level in (top, *_opened(top, definitions)):
        for node in level.nodes.values():
            if node["type"] in ONLY_IN_EDITOR or node["mode"] in (MUTED, BYPASSED) or node["id"] in level.opened:
                continue
            inputs = _widget_values(object_info[node["type"]], node.get("widgets_values", ()))
            inputs |= {socket["name"]: level.source(socket["link"]) for socket in node["inputs"] if socket.get("link")}
            prompt[f"{level.prefix}{node['id']}"] = {
                "class_type": node["type"],
                "inputs": {
                    name: value for name, value in inputs.items() if value is not None and not name.startswith("*")
                },
            }
    return prompt


@dataclass(frozen=True)
class _Level:
    """The workflow itself, or the inside of one subgraph's node.

    Attributes:
        sources: By link, the node and the output that it comes from.
        given: What the subgraph's node passes to each of its inputs: [node, output], a typed value, or None.
        outputs: By output of the subgraph, the link that leads to it.
        opened: By the id of a subgraph's node, its inside.
    """

    prefix: str
    nodes: dict[int, Mapping[str, Any]]
    sources: dict[int, tuple[int, int]]
    given: list[Any]
    outputs: dict[int, int]
    opened: dict[int, "_Level"] = field(default_factory=dict)

    def source(self, link: int) -> Any:
        """Return what a link brings, in API form: [node, output], a value that was typed into a widget, or None."""
        node, output = self.sources[link]
        if node == SUBGRAPH_INPUT:
            return self.given[output]
        if node in self.opened:
            inside = self.opened[node]
            return inside.source(inside.outputs[output])
        return [f"{self.prefix}{node}", output]


def _opened(level: _Level, definitions: Mapping[str, Any]) -> list[_Level]:
    """Open the subgraphs' nodes of a level, sources before what they feed; return their insides."""
    found: list[_Level] = []
    for node in sorted(level.nodes.values(), key=lambda node: node["order"]):
        definition = definitions.get(node["type"])
        if definition is None:
            continue
        links = {link["id"]: link for link in definition["links"]}
        inside = _Level(
            f"{level.prefix}{node['id']}:",
            {each["id"]: each for each in definition["nodes"]},
            {number: (link["origin_id"], link["origin_slot"]) for number, link in links.items()},
            _given(level, node),
            {link["target_slot"]: number for number, link in links.items() if link["target_id"] == SUBGRAPH_OUTPUT},
        )
        level.opened[node["id"]] = inside
        found += [inside, *_opened(inside, definitions)]
    return found


def _given(level: _Level, node: Mapping[str, Any]) -> list[Any]:
    typed = iter(node.get("widgets_values", ()))
    values = [next(typed) if "widget" in socket else None for socket in node["inputs"]]
    links = [socket.get("link") for socket in node["inputs"]]
    return [level.source(link) if link else value for link, value in zip(links, values, strict=True)]


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
