"""What changed between a saved state and the run that resumes from it: every change is taken and listed, or refused."""

from collections.abc import Mapping
from typing import Any

from ..errors import IMAGDressingError
from .config import as_flat

NO_EFFECT = "a resumed run starts from its state"
REFUSED = {
    "optimiser.eight_bit": "the optimiser's state has another form",
    "optimiser.parts": "the optimiser's state is of other weights",
    "optimiser.lora_rank": "the optimiser's state is of other weights",
    "weights.unet": "the trained weights belong to this model",
    "weights.vae": "the trained weights belong to this model",
    "weights.text_encoder": "the trained weights belong to this model",
    "weights.image_encoder": "the trained weights belong to this model",
    "weights.ip_adapter": NO_EFFECT,
    "weights.start_from": NO_EFFECT,
}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return {entry: [before, now]} for every entry in which two tasks differ; None stands for no entry.

    A task is what ``Trainer.task`` returns: the configuration's sections, and digests of weights and data. Sections
    and entries that an older version did not record are left out, but a section that was None was recorded.
    """
    old, new = as_flat(before), as_flat(now)
    was_none = as_flat({section: now.get(section) for section, part in before.items() if part is None})
    return {name: [old.get(name), new.get(name)] for name in old | was_none if old.get(name) != new.get(name)}


def require_resumable(found: Mapping[str, Any], distributed: str, processes: int) -> None:
    """Refuse a state that only another number of processes can load.

    Raises:
        IMAGDressingError: DeepSpeed splits the optimiser's state among the processes and cannot join it again.
    """
    saved = found.get("distributed", {"type": distributed, "processes": processes})
    if "DEEPSPEED" in (saved["type"], distributed) and saved != {"type": distributed, "processes": processes}:
        raise IMAGDressingError(
            f"The state at step {found['step']} was saved by {saved['processes']} processes under {saved['type']}, "
            f"this run has {processes} under {distributed}. DeepSpeed splits a state among its processes: resume with "
            "the same number, or export the weights and name them as models.start_from of a run with a new run.output."
        )


def require_allowed(changed: Mapping[str, list[Any]]) -> None:
    """Refuse changes that a resumed run cannot take.

    Raises:
        IMAGDressingError: There are some; all are named.
    """
    refused = [f"{name} ({REFUSED[name]})" for name in changed if name in REFUSED]
    if refused:
        raise IMAGDressingError(
            f"A resumed run cannot change {', '.join(refused)}. Take back these changes, or set run.output to a new "
            "folder and name exported weights as models.start_from."
        )
