"""Words that a user reads in the node itself, while it works and after."""

import logging

from comfy_api.latest import io
from server import PromptServer


def node_id(node: type[io.ComfyNode]) -> str | None:
    """Return the running node's id in the editor; it must ask for ``io.Hidden.unique_id``. None outside a prompt."""
    return getattr(node.hidden, "unique_id", None)


def show(text: str, node: str | None) -> None:
    """Show ``text`` in the node of that id in the editor."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node is not None:
        server.send_progress_text(text, node)


def warn(text: str, node: str | None) -> None:
    """Show a warning in the node of that id, and write it to the log for who has no editor open."""
    logging.warning("IMAGDressing: %s", text)
    show(f"⚠ {text}", node)
