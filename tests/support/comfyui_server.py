"""The real ComfyUI as a user runs it: a server of its own, spoken to over HTTP.

Run as a script it serves the editor, with this pack and the synthetic models in it, until interrupted.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from imagdressing_core.baselines.comfyui_client import POLL_SECONDS, ComfyUI, Result
from imagdressing_core.baselines.workflow_api import Prompt
from support import comfyui_release
from support.children import free_port
from support.comfyui_release import BASE, HOME, comfyui_path, prepare_base
from support.synthetic_models import make_models

__all__ = ["HALF", "KEEPING_BUFFERS", "ComfyUIServer", "Prompt", "Result", "command", "serving"]

START_SECONDS = 300
# Both U-Nets in half the memory. What ComfyUI chooses by itself is run by the demo, the soak and the editor's tests.
HALF = ("--fp16-unet",)
# A command that runs it so that glibc keeps large buffers, and never gives memory back. On a CPU each step casts each
# weight of half precision anew, and half of its time went into asking the kernel for room.
KEEPING = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8000000000"
KEEPING_BUFFERS = ("env", f"GLIBC_TUNABLES={KEEPING}")


@dataclass(frozen=True)
class ComfyUIServer(ComfyUI):
    """A ComfyUI that was started here. log: the file that holds everything it printed; pid: its process."""

    log: Path
    pid: int

    def forget(self) -> None:
        """Have ComfyUI unload all models and forget all that nodes made."""
        requests.post(f"{self.url}/free", json={"unload_models": True, "free_memory": True}, timeout=60)
        time.sleep(2)


@contextlib.contextmanager
def serving(*flags: str, base: Path = BASE, prefix: Sequence[str] = ()) -> Iterator[ComfyUIServer]:
    """Run ComfyUI on a free port of this machine; it is gone when the block ends. prefix: a command that runs it."""
    port = free_port()
    log = HOME / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen([*prefix, *command(port, flags, base)], stdout=output, stderr=subprocess.STDOUT)
    server = ComfyUIServer(f"http://127.0.0.1:{port}", log, process.pid)
    try:
        _wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        process.wait()
        log.unlink()


def command(port: int, more: Sequence[str], base: Path = BASE) -> list[str]:
    """Return the command line that starts ComfyUI on ``base``."""
    main = str(comfyui_path() / "main.py")
    own = ["--base-directory", str(base), "--port", str(port), "--database-url", "sqlite:///:memory:"]
    return [sys.executable, main, *comfyui_release.flags(), *own, *more]


def _wait_until_up(server: ComfyUIServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended while starting:\n{server.log.read_text()[-4000:]}")
        with contextlib.suppress(requests.ConnectionError):
            server.get("/system_stats")
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS} s; its log is {server.log}.")


if __name__ == "__main__":
    make_models(prepare_base() / "models")
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run(command(8188, ["--auto-launch", *sys.argv[1:]]), check=False)
