"""ComfyUI's progress bar for the node that is running."""

import comfy.utils

from ...imagdressing_core.files.checkpoint import Progress


def progress_bar() -> Progress:
    """Return a callback (done, total) that moves the running node's progress bar."""
    bar = comfy.utils.ProgressBar(1)
    return lambda done, total: bar.update_absolute(done, total)
