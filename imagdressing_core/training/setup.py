"""What a run is made of besides its models: accelerate, the optimiser, the learning rate, the averaged weights."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..command_line import made_by
from ..errors import IMAGDressingError, packages
from .config import Optimiser, TrainingConfig, as_flat, as_plain

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def accelerator_for(config: TrainingConfig) -> Any:
    """Return the ``Accelerator`` of a run, with its trackers.

    Raises:
        IMAGDressingError: The precision or a tracker is not available here.
    """
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    run = config.run
    try:
        accelerator = Accelerator(
            mixed_precision=run.precision,
            gradient_accumulation_steps=run.accumulation,
            log_with=list(run.trackers) or None,
            project_dir=run.output,
        )
    except (ImportError, ValueError) as error:
        raise IMAGDressingError(f"This run cannot be set up here: {error}") from error
    if run.precision == "fp16" and accelerator.device.type == "cpu":
        raise IMAGDressingError('run.precision = "fp16" needs a GPU, and none is visible. Use "bf16" or "no".')
    missing = set(run.trackers) - {str(one) for one in accelerator.log_with}
    if missing:
        names = " and ".join(sorted(missing))
        raise IMAGDressingError(f"run.trackers names {names}, not installed here: pip install {' '.join(missing)}.")
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = run.batch
    facts = as_flat({**as_plain(config), "made": made_by()})
    accelerator.init_trackers(
        "imagdressing",
        {name: str(value) for name, value in facts.items()},
        init_kwargs={"wandb": {"dir": str(run.output)}},  # by default it writes to the current folder
    )
    set_seed(run.seed)
    return accelerator


def optimizer_for(parameters: list[nn.Parameter], optimiser: Optimiser) -> Any:
    options: dict[str, Any] = {"lr": optimiser.learning_rate, "weight_decay": optimiser.weight_decay}
    if not optimiser.eight_bit:
        return torch.optim.AdamW(parameters, **options)
    with packages("optimiser.eight_bit", "training-8bit"):
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    return AdamW8bit(parameters, **options)


def schedule_for(optimizer: Any, config: TrainingConfig, step: int = 0) -> Any:
    """Return the learning rate schedule that the configuration names, one of diffusers', after ``step`` steps.

    The configuration's learning rate and weight decay replace those that the optimiser has from a saved state.
    """
    from diffusers.optimization import get_scheduler

    optimiser = config.optimiser
    for group in optimizer.param_groups:
        group |= {"initial_lr": optimiser.learning_rate, "weight_decay": optimiser.weight_decay}
    return get_scheduler(
        optimiser.schedule,
        optimizer,
        num_warmup_steps=optimiser.warmup_steps,
        num_training_steps=config.run.steps,
        last_epoch=step - 1,
    )


def averaged_weights(accelerator: Any, parameters: list[nn.Parameter], decay: float | None) -> Any:
    """Return diffusers' ``EMAModel`` of the trained parts, or None without a decay.

    Raises:
        IMAGDressingError: The run is under FSDP.
    """
    if decay is None:
        return None
    if accelerator.distributed_type == "FSDP":
        raise IMAGDressingError(
            "run.ema_decay needs the whole weights on each process, and FSDP splits them. Leave it out, or use DDP or "
            "DeepSpeed ZeRO-2."
        )
    from diffusers.training_utils import EMAModel

    ema = EMAModel(parameters, decay=decay)
    ema.to(dtype=torch.float32)
    return ema


def update_averaged(ema: Any, parameters: list[nn.Parameter], offload: bool) -> None:
    """Bring the averaged weights, if there are any, up to a step; ``offload`` moves them to the device for it."""
    if ema is None:
        return
    if offload:
        ema.to(device=parameters[0].device)
    ema.step(parameters)
    if offload:
        ema.to(device="cpu")


@contextmanager
def sigterm() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets in place of ending the process; only the main thread can receive signals."""
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
