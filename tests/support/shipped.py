"""The shipped workflows, as files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.comfyui_release import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / "workflows").glob("*.json"))


def nodes(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every node of a workflow; for one that stands for a subgraph, those inside it."""
    workflow = json.loads(path.read_text())
    subgraphs = workflow.get("definitions", {}).get("subgraphs", ())
    names = {subgraph["id"] for subgraph in subgraphs}
    for graph in (workflow, *subgraphs):
        yield from (node for node in graph["nodes"] if node["type"] not in names)


def app_inputs(workflow: dict[str, Any]) -> list[str]:
    """Return the inputs of a workflow's App by the names that the editor shows: a label, or the widget's own name."""
    sockets = {(node["id"], socket["name"]): socket for node in workflow["nodes"] for socket in node["inputs"]}
    inputs = workflow["extra"]["linearData"]["inputs"]
    return [sockets.get((node, widget), {}).get("label", widget) for node, widget in inputs]
