"""The states of a run on disk. Each is whole or absent, so a run that was killed resumes from the newest one."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import IMAGDressingError
from ..files.storage import flush, require_room
from .agreement import first_problem

FOLDER, PROGRESS_FILE, EMA = "states", "progress.json", "ema.safetensors"
BYTES_OF_ADAM = 8  # two float32 averages of every trained number
_NAME = re.compile(r"step-(\d+)")


def newest_state(output: Path) -> Path | None:
    """Return the folder of the newest whole state of a run, None where there is none."""
    return next(reversed(whole_states(output)), None)


def require_state(output: Path) -> Path:
    """Return the folder of the newest whole state.

    Raises:
        IMAGDressingError: there is none.
    """
    newest = newest_state(output)
    if newest is None:
        raise IMAGDressingError(f"{output} holds no whole state of a run.")
    return newest


def whole_states(output: Path) -> list[Path]:
    """Return the folders of all whole states, the oldest first. Unfinished ones have another name."""
    found = [(int(match[1]), path) for path in (output / FOLDER).glob("*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def save_state(accelerator: Any, output: Path, progress: dict[str, Any], ema: dict[str, Tensor] | None) -> Path:
    """Write the state of all processes at ``progress["step"]`` and return its folder.

    It is written under another name, flushed to the disk and renamed, so it is whole or absent at any moment.

    Raises:
        IMAGDressingError: One process could not write. All processes raise it, and earlier states are untouched.
    """
    folder = output / FOLDER / f"step-{progress['step']:08d}"
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    is_main, needed = accelerator.is_main_process, _needed(accelerator, ema)
    problem = (
        first_problem(accelerator, lambda: _prepare(unfinished, needed), is_main)
        or first_problem(accelerator, lambda: _write(accelerator, unfinished, progress, ema))
        or first_problem(accelerator, lambda: _finish(unfinished, folder), is_main)
    )
    if problem:
        if is_main:
            shutil.rmtree(unfinished, ignore_errors=True)
        newest = newest_state(output)
        kept = f"The newest whole one is {newest.name}." if newest else "There is none before it."
        raise IMAGDressingError(
            f"The state at step {progress['step']} could not be saved in {output}: {problem} {kept}"
        )
    return folder


def load_state(accelerator: Any, folder: Path) -> dict[str, Tensor] | None:
    """Bring all processes to a saved state and return its averaged weights, if it has any.

    Raises:
        IMAGDressingError: The state is damaged, or it was saved with other models or another distributed setup.
    """
    try:
        accelerator.load_state(str(folder))
        return load_file(folder / EMA) if (folder / EMA).exists() else None
    except torch.OutOfMemoryError:  # not the state's fault
        raise
    except Exception as error:  # whatever accelerate, DeepSpeed and safetensors raise
        reason = " ".join(str(error).split())[:400]
        raise IMAGDressingError(
            f"Training cannot resume from {folder}: the state is damaged, or it was saved with other models or another "
            f"distributed setup ({reason}). Restore those, or set run.output to a new folder to start over."
        ) from error


def read_progress(folder: Path) -> dict[str, Any]:
    """Return what a state's ``progress.json`` says.

    Raises:
        IMAGDressingError: It is missing or damaged.
    """
    try:
        return json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IMAGDressingError(f"{folder} is not the whole state of a run: {error}") from error


def delete_old_states(output: Path, keep: int, milestone_every: int | None = None) -> None:
    """Delete unfinished states, and all whole ones but the newest ``keep`` and those at multiples of a milestone."""
    old = [
        path
        for path in whole_states(output)[:-keep]
        if milestone_every is None or int(path.name.removeprefix("step-")) % milestone_every
    ]
    for path in [*old, *(output / FOLDER).glob(".*.unfinished")]:
        shutil.rmtree(path, ignore_errors=True)


def _needed(accelerator: Any, ema: dict[str, Tensor] | None) -> int:
    """Return about how many bytes a state takes on the disk."""
    models: Sequence[torch.nn.Module] = accelerator._models  # pyright: ignore[reportPrivateUsage]
    parameters = [parameter for model in models for parameter in model.parameters()]
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    averaged = sum(tensor.nbytes for tensor in (ema or {}).values())
    return sum(parameter.nbytes for parameter in parameters) + BYTES_OF_ADAM * trained + averaged


def _prepare(unfinished: Path, needed: int) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    require_room(unfinished, needed)


def _write(accelerator: Any, unfinished: Path, progress: dict[str, Any], ema: dict[str, Tensor] | None) -> None:
    accelerator.save_state(str(unfinished))
    if accelerator.is_main_process:
        if ema is not None:
            save_file({name: tensor.cpu().contiguous() for name, tensor in ema.items()}, unfinished / EMA)
        (unfinished / PROGRESS_FILE).write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")


def _finish(unfinished: Path, folder: Path) -> None:
    ordinary = (unfinished / PROGRESS_FILE).stat().st_mode
    for path in unfinished.rglob("*"):
        if path.is_file():
            path.chmod(ordinary)  # safetensors makes files that only their owner can read
            flush(path)
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
