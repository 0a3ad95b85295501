"""The texts that a user reads in the node itself, warnings, and the progress bar. ``web/said.js`` shows the texts."""

import logging
import sys
from dataclasses import fields
from typing import Any

import comfy.utils
from comfy_api.latest import io

from ...imagdressing_core.model.garment_unet import Progress

SAID, WARNINGS = "imagdressing", "imagdressing_warnings"
"""Keys of a node's output for the editor: its own texts, and warnings about it while another node ran."""

SAYS_AGAIN: dict[str, Any] = {
    name: True for name in ("has_intermediate_output",) if name in {one.name for one in fields(io.Schema)}
}
"""For the schema of a node that says something: ComfyUI sends its texts again where it has the node in its cache.
Older releases cannot."""


def node_id(node: type[io.ComfyNode]) -> str | None:
    """Return the running node's id in the editor; it must ask for ``io.Hidden.unique_id``. None outside a prompt."""
    return getattr(node.hidden, "unique_id", None)


def said(*texts: str) -> dict[str, list[str]]:
    """Return texts, of which empty ones are left out, as the ``ui`` of a node's output."""
    return {SAID: [text for text in texts if text]}


def remark(text: str) -> str:
    """Log ``text``, on what a node did without being asked, unless it is empty. Return it as the editor shows it."""
    if text:
        logging.info("IMAGDressing: %s", text)
    return text


def warning(text: str) -> str:
    """Log a warning, for people without an open editor. Return it as the editor shows it."""
    logging.warning("IMAGDressing: %s", text)
    return f"⚠ {text}"


def say(text: str, node: str | None) -> None:
    """Show a warning on a node that has no texts of its own; an empty one takes those of earlier prompts away."""
    _send(warning(text) if text else "", node)


class SaidOnce:
    """The warnings of one sampling run: each text appears once for each node."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str | None]] = set()

    def warn(self, text: str, node: str | None) -> None:
        if (text, node) not in self._said:
            self._said.add((text, node))
            _send(warning(text), node)

    def about(self, node: str | None) -> bool:
        """Return whether there was a warning about that node."""
        return any(label == node for _, label in self._said)

    def sampled_with(self, node: str | None) -> None:
        """Tell the editor that a run with that node is over: warnings of earlier prompts about it are out of date."""
        _send("", node)


def _send(text: str, node: str | None) -> None:
    """Add a warning to what the editor keeps of a node, while another node runs."""
    # Not imported: the module exists only where ComfyUI runs as a server. Without one there is no editor to notify.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None or node is None or server.client_id is None:  # the last where no editor sent the prompt
        return
    prompt = getattr(server, "last_prompt_id", None)
    message = {"node": node, "display_node": node, "prompt_id": prompt, "merge": True}
    output = {WARNINGS: [{"prompt": prompt, "text": text}]}
    server.send_sync("executed", message | {"output": output}, server.client_id)


def progress_bar() -> Progress:
    """Return a callback (done, in all) that moves the running node's progress bar."""
    bar = comfy.utils.ProgressBar(1)
    return lambda done, total: bar.update_absolute(done, total)
