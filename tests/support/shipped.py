"""The shipped workflows, as files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.comfyui_release import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / "workflows").glob("*.json"))


def nodes(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every node of a workflow, those inside subgraphs too."""
    workflow = json.loads(path.read_text())
    yield from workflow["nodes"]
    for subgraph in workflow.get("definitions", {}).get("subgraphs", ()):
        yield from subgraph["nodes"]
