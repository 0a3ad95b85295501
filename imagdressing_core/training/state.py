"""The state of a run on disk: whole or absent, so that a run killed at any moment goes on from the newest one."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import IMAGDressingError, first_line
from ..files.storage import flush, require_room

FOLDER, PROGRESS, EMA = "states", "progress.json", "ema.safetensors"
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
    """Return the folders of all whole states, oldest first. Unfinished ones have another name."""
    found = [(int(match[1]), path) for path in (output / FOLDER).glob("*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def save_state(accelerator: Any, output: Path, progress: dict[str, Any], ema: dict[str, Tensor] | None) -> Path:
    """Write the state of all processes at ``progress["step"]`` and return its folder.

    It is written under another name, flushed to the disk and renamed: at any moment it is whole or not there.

    Raises:
        IMAGDressingError: on every process, when one of them could not write; the states before it are untouched.
    """
    folder = output / FOLDER / f"step-{progress['step']:08d}"
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    problem = _first(accelerator, lambda: _prepare(unfinished, _needed(accelerator, ema)), accelerator.is_main_process)
    if not problem:
        problem = _first(accelerator, lambda: _write(accelerator, unfinished, progress, ema))
    if not problem:
        problem = _first(accelerator, lambda: _finish(unfinished, folder), accelerator.is_main_process)
    if problem:
        if accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        newest = newest_state(output)
        kept = f"The newest whole one is {newest.name}." if newest else "There is none before it."
        raise IMAGDressingError(
            f"The state at step {progress['step']} could not be saved in {output}: {problem} {kept}"
        )
    return folder


def load_state(accelerator: Any, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """Bring all processes to a saved state; return its progress and averaged weights.

    Raises:
        IMAGDressingError: it is damaged, or belongs to models of another architecture or to another way of training.
    """
    try:
        progress = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        accelerator.load_state(str(folder))
        ema = load_file(folder / EMA) if (folder / EMA).exists() else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:400]
        raise IMAGDressingError(
            f"{folder} cannot be gone on from: it is damaged, or the models or the way of training are others than it "
            f"was saved with ({reason}). Restore them, or choose another run.output to start anew."
        ) from error
    return progress, ema


def delete_old_states(output: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` states, and what was left unfinished."""
    for path in [*whole_states(output)[:-keep], *(output / FOLDER).glob(".*.unfinished")]:
        shutil.rmtree(path, ignore_errors=True)


def _first(accelerator: Any, do: Any, here: bool = True) -> str:
    """Do something on this process, or not, and return on all of them what went wrong on the first where it did."""
    problem = ""
    if here:
        try:
            do()
        except (IMAGDressingError, OSError, RuntimeError, SafetensorError) as error:
            problem = f"{first_line(error)}."
    problems = [problem]
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        problems = gather_object(problems)
    return next((one for one in problems if one), "")


def _needed(accelerator: Any, ema: dict[str, Tensor] | None) -> int:
    """Return about how many bytes a state takes on the disk."""
    parameters = [parameter for model in _models(accelerator) for parameter in model.parameters()]
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    averaged = sum(tensor.nbytes for tensor in (ema or {}).values())
    return sum(parameter.nbytes for parameter in parameters) + BYTES_OF_ADAM * trained + averaged


def _models(accelerator: Any) -> Sequence[torch.nn.Module]:
    return accelerator._models  # pyright: ignore[reportPrivateUsage]


def _prepare(unfinished: Path, needed: int) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    require_room(unfinished, needed)


def _write(accelerator: Any, unfinished: Path, progress: dict[str, Any], ema: dict[str, Tensor] | None) -> None:
    accelerator.save_state(str(unfinished))
    if accelerator.is_main_process:
        if ema is not None:
            save_file({name: tensor.cpu().contiguous() for name, tensor in ema.items()}, unfinished / EMA)
        (unfinished / PROGRESS).write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")


def _finish(unfinished: Path, folder: Path) -> None:
    for path in unfinished.rglob("*"):
        if path.is_file():
            flush(path)
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
