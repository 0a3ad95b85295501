"""What a user sees in the node itself while it works and after: texts, warnings, the progress bar."""

import logging
import sys

import comfy.utils
from comfy_api.latest import io

from ...imagdressing_core.model.garment_unet import Progress


def node_id(node: type[io.ComfyNode]) -> str | None:
    """Return the running node's id in the editor; it must ask for ``io.Hidden.unique_id``. None outside a prompt."""
    return getattr(node.hidden, "unique_id", None)


def show(text: str, node: str | None) -> None:
    """Show ``text`` in the node of that id in the editor."""
    # Not imported: it is there where ComfyUI runs as a server, and elsewhere there is nobody to show it to.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None and node is not None:
        server.send_progress_text(text, node)


def warn(text: str, node: str | None) -> None:
    """Show a warning in the node of that id, and write it to the log for who has no editor open."""
    logging.warning("IMAGDressing: %s", text)
    show(f"⚠ {text}", node)


class SaidOnce:
    """Warnings of one sampling run: the same one, of the same node, is said once."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str | None]] = set()

    def warn(self, text: str, node: str | None) -> None:
        if (text, node) not in self._said:
            self._said.add((text, node))
            warn(text, node)

    def about(self, node: str | None) -> bool:
        """Return whether anything has been said of that node."""
        return any(label == node for _, label in self._said)


def progress_bar() -> Progress:
    """Return a callback (done, in all) that moves the running node's progress bar."""
    bar = comfy.utils.ProgressBar(1)
    return lambda done, total: bar.update_absolute(done, total)
