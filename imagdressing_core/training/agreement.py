"""What the processes of a run must agree on: their task, the output folder, and whether something failed."""

import platform
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import IMAGDressingError, first_line

SECONDS_TO_APPEAR = 20  # how long a shared folder may take to show another machine's file


def first_problem(accelerator: Any, do: Callable[[], object], here: bool = True) -> str:
    """Run ``do`` here if ``here`` is true, then return the first error message of all processes on every one of them.

    The message is empty if none failed.
    """
    problem = ""
    if here:
        try:
            do()
        except (OSError, RuntimeError, SafetensorError, IMAGDressingError) as error:
            problem = f"{first_line(error)}."
    return next((one for one in gathered(accelerator, problem) if one), "")


def gathered(accelerator: Any, value: Any) -> list[Any]:
    """Return every process's value on every process."""
    if accelerator.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    return gather_object([value])


def require_same(accelerator: Any, facts: Mapping[str, Any]) -> None:
    """Raise IMAGDressingError on every process if one of them has another fact than the main process."""
    here = f"process {accelerator.process_index} ({platform.node()})"
    everywhere = gathered(accelerator, (here, dict(facts)))
    main, expected = everywhere[0]
    for name, value in expected.items():
        for process, found in everywhere[1:]:
            if found.get(name) != value:
                raise IMAGDressingError(
                    f"The processes do not have the same task: {name} is {value} on {main} and {found.get(name)} on "
                    f"{process}. Give all of them the same version, configuration, data and models."
                )


def require_shared(accelerator: Any, folder: Path) -> None:
    """Raise IMAGDressingError on every process unless ``folder`` is the same one for all of them."""
    (token, *_) = gathered(accelerator, f".shared-{uuid.uuid4().hex}")
    file = folder / token

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()

    def look() -> None:
        end = time.monotonic() + SECONDS_TO_APPEAR
        while not file.exists():
            if time.monotonic() > end:
                raise OSError(
                    f"run.output, {folder}, is not the same folder on all machines: {platform.node()} does not see "
                    "what the main process writes there. Choose a folder that all machines share"
                )
            time.sleep(0.1)

    problem = first_problem(accelerator, write, accelerator.is_main_process) or first_problem(accelerator, look)
    if accelerator.is_main_process:
        file.unlink(missing_ok=True)
    if problem:
        raise IMAGDressingError(problem)
