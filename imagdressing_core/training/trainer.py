"""The training loop, on one process or many by accelerate. A run that was stopped continues as if it had not been."""

import platform
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import IMAGDressingError
from .agreement import gathered, require_same, require_shared
from .cache import open_cache
from .config import LOCAL, TrainingConfig, as_flat, as_plain
from .data import whole_pairs
from .log import BROKEN, RunLog
from .model import choose_parts, encoded, latent_shape, load_models, training_loss
from .objective import noise_schedule
from .provenance import provenance
from .resume import changes, require_allowed, require_resumable
from .samples import PairSamples, SampleMaker, loader
from .setup import DTYPES, accelerator_for, averaged_weights, optimizer_for, schedule_for, sigterm, update_averaged
from .state import delete_old_states, load_state, newest_state, read_progress, save_state
from .validation import Validator, validator


def train(config: TrainingConfig) -> bool:
    """Train until ``config.run.steps``, from the newest state in ``config.run.output`` if there is one.

    Returns:
        Whether the last step was reached; False if SIGTERM stopped the run, whose state is then saved.

    Raises:
        IMAGDressingError: Models, data, cache or state are missing or unsuitable, the processes have different tasks,
            more samples are broken than allowed, or the last state cannot be saved. An earlier state that cannot be
            saved is reported, and training continues.
    """
    trainer = Trainer(config)
    trainer.resume()
    return trainer.run()


class Trainer:
    """The models, the optimiser, the averaged weights and the current step of a run."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.accelerator = accelerator_for(config)
        self.log = RunLog(self.accelerator, config.run.output)
        self.cache = open_cache(config)
        clip_width = None if self.cache is None else self.cache.null().shape[-1]
        self.frozen, trained = load_models(config.models, clip_width)
        self.frozen.to(self.accelerator.device, DTYPES[config.run.precision])
        choose_parts(trained, config.optimiser)
        if config.run.gradient_checkpointing:
            for unet in (self.frozen.unet, trained.ref_unet):
                unet.train()  # diffusers checkpoints in training only; SD1.5's U-Net has no dropout
                unet.enable_gradient_checkpointing()  # pyright: ignore
        trained.train()
        self.names = [name for name, _ in trained.named_parameters()]
        optimizer = optimizer_for([one for one in trained.parameters() if one.requires_grad], config.optimiser)
        self.schedule = schedule_for(optimizer, config)
        self.garment, self.optimizer = self.accelerator.prepare(trained, optimizer)
        self.ema = averaged_weights(self.accelerator, self._parameters(), config.run.ema_decay)
        self.alphas = noise_schedule(config.objective.zero_terminal_snr).alphas_cumprod.to(self.accelerator.device)
        self.pairs = whole_pairs(config.data)
        maker = SampleMaker(
            config.data, config.dropout, latent_shape(self.frozen.vae, config.data), config.run.seed, self.cache
        )
        self.samples = PairSamples(self.pairs, maker, self._samples_per_step())
        self.validator: Validator | None = validator(config, maker)
        self.provenance = provenance(config.models)
        self.step = 0
        self.history: list[dict[str, Any]] = []  # what changed when the run was resumed
        self.broken: set[str] = set()
        self._new_broken = set(self.pairs.broken)
        self._norm: Any = None

    @property
    def task(self) -> dict[str, Any]:
        """The configuration with digests of the weights and the data, {section: {name: value}}."""
        pairs = {"count": len(self.pairs), "digest": self.pairs.digest}
        return {**as_plain(self.config), "weights": self.provenance["weights"], "pairs": pairs}

    def resume(self) -> None:
        """Continue from the newest whole state of the run, if there is one.

        Raises:
            IMAGDressingError: The processes do not have the same task, or the state does not suit it.
        """
        require_shared(self.accelerator, self.config.run.output)
        folder = newest_state(self.config.run.output)
        shared = {name: value for name, value in as_flat(self.task).items() if name not in LOCAL}
        version = {"the version of ComfyUI-IMAGDressing": self.provenance["version"]}
        require_same(self.accelerator, version | shared | {"the newest state": folder and folder.name})
        if folder is None:
            return
        found = read_progress(folder)
        require_resumable(found, *self._distributed().values())
        before = found["config"] | {name: found[name] for name in ("weights", "pairs") if name in found}
        changed = changes(before, self.task)
        require_allowed(changed)
        averaged = load_state(self.accelerator, folder)
        self.step = found["step"]
        self.schedule = schedule_for(self.schedule.optimizer, self.config, self.step)
        if self.ema is not None:
            start = averaged or dict(zip(self.names, self._parameters(), strict=True))
            shadow = [start[name].detach().to(self.accelerator.device, torch.float32, copy=True) for name in self.names]
            self.ema.shadow_params, self.ema.optimization_step = shadow, self.step
        self.history = found.get("history", [])
        self.log.say(f"Resuming from step {self.step} ({folder}).")
        if changed:
            self.history = [*self.history, {"step": self.step, "changed": changed, **self.provenance}]
        for name, (before, now) in changed.items():
            self.log.say(f"{name} was {before} until step {self.step} and is now {now}.")
        if found["share"] != self._samples_per_step():
            self.log.say(
                f"A step has {self._samples_per_step()} samples, before it had {found['share']}: from here on the run "
                "sees other samples than it would have."
            )

    def run(self) -> bool:
        """Train from the current step to the last one. Return False if SIGTERM stopped the run before."""
        run = self.config.run
        self._announce()
        batches = iter(self._loader())
        losses: list[Tensor] = []  # of the steps since the last line of the log
        seconds = 0.0  # that these steps took
        with sigterm() as stop:
            while self.step < run.steps:
                started = time.perf_counter()
                losses.append(self._step(batches))
                logged = self.step % run.log_every == 0 or self.step == run.steps
                loss = self._mean(losses) if logged else None
                seconds += time.perf_counter() - started
                if loss is not None:
                    self._log_step(loss, len(losses) * self._samples_per_step() / seconds)
                    losses, seconds = [], 0.0
                    self._count_broken()
                if self.validator is not None and self.step % self.validator.config.every == 0:
                    self._validate(self.validator)
                can_agree = logged or self.accelerator.num_processes == 1
                stopped = can_agree and any(gathered(self.accelerator, stop.is_set()))
                if self.step % run.save_every == 0 or self.step == run.steps or stopped:
                    self._save(must=stopped or self.step == run.steps)
                if stopped and self.step < run.steps:
                    self.log.say(f"SIGTERM stopped the run at step {self.step}; the same command resumes it.")
                    return False
        self.accelerator.end_training()
        return True

    def _step(self, batches: Iterator[Any]) -> Tensor:
        """Make one step of the optimiser, keep the norm of its gradient and return the mean loss of its samples."""
        losses: list[Tensor] = []
        for samples in islice(batches, self.config.run.accumulation):
            if isinstance(samples, IMAGDressingError):
                raise samples
            self._new_broken.update(samples["broken"])
            with self.accelerator.accumulate(self.garment), self.accelerator.autocast():
                batch = encoded(samples, self.frozen)
                loss = training_loss(self.frozen.unet, self.garment, batch, self.config.objective, self.alphas)
                self.accelerator.backward(loss)
                losses.append(loss.detach())
                if self.accelerator.sync_gradients:
                    self._norm = self.accelerator.clip_grad_norm_(self.garment.parameters(), self.config.optimiser.clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.schedule.step()
        update_averaged(self.ema, self._parameters(), self.config.run.ema_offload)
        self.step += 1
        return torch.stack(losses).mean()

    def _mean(self, losses: list[Tensor]) -> float:
        """Return the mean over steps and processes, once the device has computed them."""
        return float(self.accelerator.reduce(torch.stack(losses).mean(), "mean"))

    def _loader(self) -> Any:
        run, accelerator = self.config.run, self.accelerator
        batches = range(self.step * run.accumulation, run.steps * run.accumulation)
        return loader(
            self.samples,
            batches,
            run.batch,
            self.config.data.workers,
            rank=accelerator.process_index,
            processes=accelerator.num_processes,
        )

    def _save(self, must: bool) -> None:
        """Save the state; without ``must`` a failure is only reported."""
        run = self.config.run
        progress = {
            "step": self.step,
            "share": self._samples_per_step(),
            "schedule": self.schedule.state_dict(),  # only older versions read it
            "config": as_plain(self.config),
            "pairs": self.task["pairs"],
            "distributed": self._distributed(),
            "history": self.history,
            **self.provenance,
        }
        averaged = None if self.ema is None else dict(zip(self.names, self.ema.shadow_params, strict=True))
        try:
            save_state(self.accelerator, run.output, progress, averaged)
        except IMAGDressingError as error:
            if must:
                raise
            self.log.say(f"{error} Training continues; the next attempt is in {run.save_every} steps.")
            return
        if self.accelerator.is_main_process:
            delete_old_states(run.output, run.keep, run.milestone_every)

    def _count_broken(self) -> None:
        """List newly broken samples of all processes, and raise IMAGDressingError if there are too many."""
        new = {name for names in gathered(self.accelerator, sorted(self._new_broken)) for name in names} - self.broken
        self._new_broken.clear()
        self.broken |= new
        if new:
            self.log.broken(sorted(new), len(self.broken))
        limit = self.config.data.skip_broken
        if len(self.broken) > limit:
            raise IMAGDressingError(
                f"{len(self.broken)} samples are broken, and data.skip_broken allows {limit}. {BROKEN} in "
                f"{self.config.run.output} lists them; the command check names all there are."
            )

    def _validate(self, validator: Validator) -> None:
        """Log the loss and images of the validation pairs, by the averaged weights if there are any."""
        if self.ema is not None:
            self.ema.store(self._parameters())
            self.ema.copy_to(self._parameters())
        try:
            with self.accelerator.autocast():
                loss = validator.loss(self.frozen, self.garment, self.config.objective, self.alphas)
                self.log.values(self.step, {"validation_loss": loss})
                if validator.config.pictures:
                    image = validator.image(self.frozen, self.garment)
                    self.log.image(self.step, image, self.provenance)
        finally:
            if self.ema is not None:
                self.ema.restore(self._parameters())

    def _announce(self) -> None:
        """Say and record what this run is, before its first step."""
        accelerator, run = self.accelerator, self.config.run
        machines = len(set(gathered(accelerator, platform.node())))
        device = accelerator.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
        trained = sum(one.numel() for one in self._parameters() if one.requires_grad)
        precision = {"no": "fp32"}.get(run.precision, run.precision)
        self.log.say(
            f"Training {trained / 1e6:,.1f} million parameters on {name} in {precision}: {accelerator.num_processes} "
            f"process(es) on {machines} machine(s) ({self._distributed()['type']}). A step has "
            f"{self._samples_per_step()} samples: {run.batch} × {run.accumulation} accumulated × "
            f"{accelerator.num_processes}. {len(self.pairs):,} pairs, "
            f"{'without a cache' if self.cache is None else f'cached in {self.cache.folder}'}. "
            f"Steps {self.step} to {run.steps}."
        )
        if device.type == "cpu" and trained > 1e8:
            self.log.say("No GPU is visible. On the CPU a step of this size takes minutes.")
        machine = {"device": name, "machines": machines, "trained_parameters": trained, **self._distributed()}
        start = {**self.provenance, **machine, "config": as_plain(self.config), "history": self.history}
        self.log.record(self.step, {"run": start})
        self._count_broken()

    def _log_step(self, loss: float, rate: float) -> None:
        norm = float(self._norm) if self._norm is not None else 0.0  # DeepSpeed clips by itself
        values = {"loss": loss, "gradient_norm": norm, "samples_per_second": rate}
        values["learning_rate"] = self.schedule.get_last_lr()[0]
        if torch.cuda.is_available():
            values["peak_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
        self.log.values(self.step, values)

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.accelerator.unwrap_model(self.garment).parameters())

    def _distributed(self) -> dict[str, Any]:
        return {"type": self.accelerator.distributed_type.value, "processes": self.accelerator.num_processes}

    def _samples_per_step(self) -> int:
        return self.config.run.batch * self.config.run.accumulation * self.accelerator.num_processes
