"""The real ComfyUI as a user runs it: a server of its own, spoken to over HTTP.

Run as a script it serves the editor, with this pack and the synthetic models in it, until interrupted.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import torch
from comfy_host import BASE, HOME, host_path, prepare_base
from synthetic_models import make_models

Prompt = dict[str, dict[str, Any]]
"""A workflow in the host's API form: {node id: {"class_type": …, "inputs": …}}."""

START_SECONDS = 300
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """What one queued prompt did.

    outputs: what the editor was given to show, by node id. executed, cached: ids of the nodes that ran or did not.
    error: the message a user would see in the editor's dialog, or None.
    """

    outputs: dict[str, Any]
    executed: frozenset[str]
    cached: frozenset[str]
    error: str | None

    @property
    def images(self) -> list[dict[str, str]]:
        """The pictures that were saved, without previews."""
        shown = [image for output in self.outputs.values() for image in output.get("images", ())]
        return [image for image in shown if image["type"] == "output"]


@dataclass(frozen=True)
class HostServer:
    """A running host. log: the file that holds everything it printed; pid: its process."""

    url: str
    log: Path
    pid: int

    def get(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"{self.url}{path}", params=parameters, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, prompt: Prompt) -> Result:
        """Queue ``prompt`` and wait until it is done, or refused."""
        queued = self.queue(prompt)
        return queued if isinstance(queued, Result) else self.wait(prompt, queued)

    def queue(self, prompt: Prompt) -> str | Result:
        """Queue ``prompt``; return its id in the queue, or what was refused of it."""
        answer = requests.post(f"{self.url}/prompt", json={"prompt": prompt}, timeout=60)
        if answer.status_code == 400:
            return Result({}, frozenset(), frozenset(), _refusal(answer.json()))
        answer.raise_for_status()
        return answer.json()["prompt_id"]

    def wait(self, prompt: Prompt, prompt_id: str) -> Result:
        """Wait until a queued prompt is done."""
        while not (history := self.get(f"/history/{prompt_id}")):
            time.sleep(POLL_SECONDS)
        return _result(prompt, history[prompt_id])

    def upload(self, picture: Path) -> None:
        """Put a picture into the host's input folder, as the editor does when one is dropped on Load Image."""
        with picture.open("rb") as file:
            answer = requests.post(
                f"{self.url}/upload/image", files={"image": (picture.name, file)}, data={"overwrite": "1"}, timeout=60
            )
        answer.raise_for_status()

    def image(self, image: dict[str, str]) -> bytes:
        """Return the file of one of a result's ``images``."""
        answer = requests.get(f"{self.url}/view", params=image, timeout=60)
        answer.raise_for_status()
        return answer.content


def device_flags() -> list[str]:
    return [] if torch.cuda.is_available() else ["--cpu"]


@contextlib.contextmanager
def serving(*flags: str, base: Path = BASE, prefix: Sequence[str] = ()) -> Iterator[HostServer]:
    """Run the host on a free port of this machine; it is gone when the block ends. prefix: a command that runs it."""
    port = _free_port()
    log = HOME / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen([*prefix, *command(port, flags, base)], stdout=output, stderr=subprocess.STDOUT)
    server = HostServer(f"http://127.0.0.1:{port}", log, process.pid)
    try:
        _wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        process.wait()
        log.unlink()


def command(port: int, flags: Sequence[str], base: Path = BASE) -> list[str]:
    """Return the command line that starts the host on ``base``."""
    main = str(host_path() / "main.py")
    own = ["--base-directory", str(base), "--port", str(port), "--database-url", "sqlite:///:memory:"]
    return [sys.executable, main, *device_flags(), *own, *flags]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_up(server: HostServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended while starting:\n{server.log.read_text()[-4000:]}")
        with contextlib.suppress(requests.ConnectionError):
            server.get("/system_stats")
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS} s; its log is {server.log}.")


def _refusal(answer: dict[str, Any]) -> str:
    reasons = [
        f"{error['message']}: {error['details']}"
        for node in answer.get("node_errors", {}).values()
        for error in node["errors"]
    ]
    return "\n".join(reasons) or f"{answer['error']['message']}: {answer['error']['details']}"


def _result(prompt: Prompt, entry: dict[str, Any]) -> Result:
    messages = dict(entry["status"]["messages"])
    cached = frozenset(messages.get("execution_cached", {}).get("nodes", ()))
    failure = messages.get("execution_error")
    executed = frozenset(failure["executed"] if failure else prompt) - cached
    return Result(entry["outputs"], executed, cached, failure["exception_message"].strip() if failure else None)


if __name__ == "__main__":
    make_models(prepare_base() / "models")
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run(command(8188, ["--auto-launch", *sys.argv[1:]]), check=False)
