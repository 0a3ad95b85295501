"""The log of a run: the terminal, ``metrics.jsonl``, the trackers and the validation images."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

METRICS, BROKEN = "metrics.jsonl", "broken.txt"


class RunLog:
    """Writes what the main process says and measures; on other processes it does nothing but feed the trackers."""

    def __init__(self, accelerator: Any, output: Path) -> None:
        self._accelerator = accelerator
        self._output = output
        self._unwritten: set[str] = set()

    def say(self, text: str) -> None:
        self._accelerator.print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        self._append(METRICS, json.dumps({"step": step, **values}))

    def values(self, step: int, values: dict[str, float]) -> None:
        """Log numbers everywhere."""
        self._accelerator.log(values, step=step)
        self.record(step, values)
        self.say(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def broken(self, samples: list[str], count: int) -> None:
        """List samples that are left out from now on; ``count`` is the number of all so far."""
        for sample in samples:
            self._append(BROKEN, sample)
        self.say(f"{count} broken samples are left out so far: see {self._output / BROKEN}.")

    def image(self, step: int, image: Image.Image, made: dict[str, Any]) -> None:
        """Save a validation image, with its provenance in the file, and show it in the trackers."""
        if self._accelerator.is_main_process:
            path = self._output / "validation" / f"step-{step:08d}.png"
            notes = PngInfo()
            notes.add_text("imagdressing", json.dumps(made))
            with self._not_needed("validation images"):
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, pnginfo=notes)
        import numpy

        pixels = numpy.asarray(image)[None]
        for tracker in self._accelerator.trackers:
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"validation": pixels}, step=step, **layout)

    def _append(self, name: str, line: str) -> None:
        if self._accelerator.is_main_process:
            with self._not_needed(name):
                self._output.mkdir(parents=True, exist_ok=True)
                with (self._output / name).open("a", encoding="utf-8") as file:
                    file.write(line + "\n")

    @contextmanager
    def _not_needed(self, what: str) -> Iterator[None]:
        """Write in the block what training does not need: where the disk refuses it, that is said once."""
        try:
            yield
        except OSError as error:
            if what not in self._unwritten:
                self._unwritten.add(what)
                self.say(f"{what} cannot be written ({error}); training continues.")
