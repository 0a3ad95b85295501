"""The English texts of all nodes, as the editor's translators need them: from the nodes to ``locales/en``."""

import asyncio
import json
from typing import Any

from support import comfyui_process as comfyui
from support.comfyui_release import REPOSITORY

LOCALES = REPOSITORY / "locales"
NODE_TEXTS = LOCALES / "en" / "nodeDefs.json"

Texts = dict[str, Any]


def node_texts() -> dict[str, Texts]:
    """Return what a user reads of each node, by node id, in the form of the editor's ``nodeDefs.json``."""
    extension = comfyui.pack("nodes").IMAGDressingExtension()
    schemas = [node.GET_SCHEMA() for node in asyncio.run(extension.get_node_list())]
    return {schema.node_id: _texts(schema) for schema in schemas}


def _texts(schema: Any) -> Texts:
    texts: Texts = {"display_name": schema.display_name, "description": schema.description}
    texts["inputs"] = {one.id: {"name": one.display_name or one.id, "tooltip": one.tooltip} for one in schema.inputs}
    if schema.outputs:
        texts["outputs"] = {
            str(i): {"name": one.display_name or one.io_type, "tooltip": one.tooltip}
            for i, one in enumerate(schema.outputs)
        }
    return texts


if __name__ == "__main__":
    NODE_TEXTS.parent.mkdir(parents=True, exist_ok=True)
    NODE_TEXTS.write_text(json.dumps(node_texts(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
