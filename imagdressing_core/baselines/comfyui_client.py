"""A client of a running ComfyUI that speaks to it over HTTP, as the editor does."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import packages
from .workflow_api import Prompt

with packages("Speaking to ComfyUI"):
    import requests

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """The result of one queued prompt.

    Attributes:
        outputs: By node id, the outputs that the editor would show.
        executed: The ids of the nodes that ran.
        cached: The ids of the nodes whose outputs were kept from an earlier prompt.
        error: The message that a user would see in the editor's dialog, or None.
    """

    outputs: dict[str, Any]
    executed: frozenset[str]
    cached: frozenset[str]
    error: str | None

    @property
    def images(self) -> list[dict[str, str]]:
        """The images that were saved, without previews."""
        shown = [image for output in self.outputs.values() for image in output.get("images", ())]
        return [image for image in shown if image["type"] == "output"]


@dataclass(frozen=True)
class ComfyUI:
    """A running ComfyUI. url: its address as in the browser, without a slash at the end."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        return self._answer("GET", path, params=parameters).json()

    def run(self, prompt: Prompt) -> Result:
        """Queue a prompt and wait until it is done or rejected."""
        queued = self.queue(prompt)
        return queued if isinstance(queued, Result) else self.wait(prompt, queued)

    def queue(self, prompt: Prompt) -> str | Result:
        """Queue a prompt; return its id in the queue, or a result with the error if ComfyUI rejects it."""
        body = json.dumps({"prompt": prompt})  # json and not requests: ComfyUI's own parser accepts NaN too
        answer = requests.post(f"{self.url}/prompt", data=body.encode(), timeout=60)
        if answer.status_code == 400:
            return Result({}, frozenset(), frozenset(), _refusal(answer.json()))
        answer.raise_for_status()
        return answer.json()["prompt_id"]

    def wait(self, prompt: Prompt, prompt_id: str) -> Result:
        """Wait until a queued prompt is done."""
        while not (history := self.get(f"/history/{prompt_id}")):
            time.sleep(POLL_SECONDS)
        return _result(prompt, history[prompt_id])

    def upload(self, image: Path, name: str | None = None) -> None:
        """Put an image into ComfyUI's input folder, as the editor does when one is dropped on Load Image."""
        with image.open("rb") as file:
            files = {"image": (name or image.name, file)}
            self._answer("POST", "/upload/image", files=files, data={"overwrite": "1"})

    def image(self, image: dict[str, str]) -> bytes:
        """Return the file of one of a result's ``images``."""
        return self._answer("GET", "/view", params=image).content

    def _answer(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = requests.request(method, f"{self.url}{path}", timeout=60, **more)
        answer.raise_for_status()
        return answer


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
