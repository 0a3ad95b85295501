"""The training loop: one process or many, by accelerate; stopped at any moment, it goes on as if it had not been."""

import json
import time
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import IMAGDressingError
from .cache import Cache, open_cache
from .config import Optimiser, TrainingConfig, as_plain
from .data import shard_names, whole_pairs
from .model import Frozen, encoded, load_models, null_clip_hidden, training_loss
from .objective import noise_schedule
from .samples import PairSamples, ProcessBatches, SampleMaker, ShardSamples, loader, tensors_to
from .state import delete_old_states, load_state, newest_state, save_state
from .validation import Validator, save_image, validator

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
METRICS = "metrics.jsonl"


def train(config: TrainingConfig) -> None:
    """Train until ``config.run.steps``, from the newest state in ``config.run.output`` if there is one.

    Raises:
        IMAGDressingError: models, data, cache or state are missing or do not fit; an entry of the data is broken; the
            last state cannot be saved. One that cannot be saved in between is reported and training goes on.
    """
    trainer = Trainer(config)
    trainer.resume()
    trainer.run()


class Trainer:
    """All that a run holds: the models, the optimiser, the averaged weights and how far it is."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.accelerator = _accelerator(config)
        cache = open_cache(config)
        self.frozen, trained = load_models(config.models, with_image_encoder=cache is None)
        self.frozen.to(self.accelerator.device, DTYPES[config.run.precision])
        if config.run.gradient_checkpointing:
            for unet in (self.frozen.unet, trained.ref_unet):
                unet.train()  # diffusers checkpoints in training only; SD1.5's U-Net has no dropout
                unet.enable_gradient_checkpointing()  # pyright: ignore
        trained.train()
        self.names = [name for name, _ in trained.named_parameters()]
        optimizer = _optimizer([one for one in trained.parameters() if one.requires_grad], config.optimiser)
        self.schedule = _learning_rate(optimizer, config)
        self.garment, self.optimizer = self.accelerator.prepare(trained, optimizer)
        self.ema = self._averaged_weights()
        self.alphas = noise_schedule(config.objective.zero_terminal_snr).alphas_cumprod.to(self.accelerator.device)
        self.null_clip = _null_clip(cache, self.frozen).to(self.accelerator.device)
        self.maker = SampleMaker(config.data, config.dropout, self._latent_shape(), config.run.seed, cache)
        self.validator: Validator | None = validator(config, self.maker)
        self.step = 0

    def resume(self) -> None:
        """Go to the newest whole state of the run, if there is one."""
        folder = newest_state(self.config.run.output)
        if folder is None:
            return
        progress, averaged = load_state(self.accelerator, folder)
        self.step = progress["step"]
        self.schedule.load_state_dict(progress["schedule"])
        if self.ema is not None and averaged is not None:
            shadow = [averaged[name].to(self.accelerator.device) for name in self.names]
            self.ema.load_state_dict(self.ema.state_dict() | {"shadow_params": shadow, "optimization_step": self.step})
        self._say(f"Going on from step {self.step} ({folder}).")
        if progress["share"] != self._samples_per_step():
            self._say(
                f"A step has {self._samples_per_step()} samples, before it had {progress['share']}: from here on "
                "the run sees other samples than it would have."
            )

    def run(self) -> None:
        """Train from where the run is to the last step."""
        run, started, seen = self.config.run, time.perf_counter(), self.step
        if self.accelerator.is_main_process:
            run.output.mkdir(parents=True, exist_ok=True)
        batches = iter(self._loader())
        while self.step < run.steps:
            loss, norm = self._step(batches)
            if self.step % run.log_every == 0 or self.step == run.steps:
                rate = (self.step - seen) * self._samples_per_step() / (time.perf_counter() - started)
                started, seen = time.perf_counter(), self.step
                self._log({"loss": loss, "gradient_norm": norm, "samples_per_second": rate} | self._machine())
            if self.validator is not None and self.step % self.validator.config.every == 0:
                self._validate(self.validator)
            if self.step % run.save_every == 0 or self.step == run.steps:
                self._save()
        self.accelerator.end_training()

    def _step(self, batches: Any) -> tuple[float, float]:
        """Make one step of the optimiser; return the mean loss of its samples and the norm of its gradient."""
        losses: list[Tensor] = []
        norm = torch.zeros(())
        for samples in islice(batches, self.config.run.accumulation):
            if isinstance(samples, IMAGDressingError):
                raise samples
            with self.accelerator.accumulate(self.garment), self.accelerator.autocast():
                batch = encoded(tensors_to(samples, self.accelerator.device), self.frozen, self.null_clip)
                loss = training_loss(self.frozen.unet, self.garment, batch, self.config.objective, self.alphas)
                self.accelerator.backward(loss)
                losses.append(loss.detach())
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.garment.parameters(), self.config.optimiser.clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.schedule.step()
        if self.ema is not None:
            self.ema.step(self._parameters())
        self.step += 1
        loss = self.accelerator.reduce(torch.stack(losses).mean(), "mean")
        return float(loss), float(norm) if norm is not None else 0.0  # DeepSpeed clips by itself

    def _loader(self) -> Any:
        run, data = self.config.run, self.config.data
        share = ProcessBatches(run.batch, self.accelerator.process_index, self.accelerator.num_processes)
        batches = range(self.step * run.accumulation, run.steps * run.accumulation)
        if data.format == "shards":
            samples = ShardSamples(shard_names(data.path), self.maker, share, first=batches.start)
        else:
            samples = PairSamples(whole_pairs(data), self.maker)
        return loader(samples, share, batches, data.workers)

    def _save(self) -> None:
        run = self.config.run
        progress = {
            "step": self.step,
            "share": self._samples_per_step(),
            "schedule": self.schedule.state_dict(),
            "config": as_plain(self.config),
        }
        averaged = None if self.ema is None else dict(zip(self.names, self.ema.shadow_params, strict=True))
        try:
            save_state(self.accelerator, run.output, progress, averaged)
        except IMAGDressingError as error:
            if self.step == run.steps:
                raise
            self._say(f"{error} Training goes on; the next attempt is in {run.save_every} steps.")
            return
        if self.accelerator.is_main_process:
            delete_old_states(run.output, run.keep)

    def _validate(self, validator: Validator) -> None:
        """Log the loss and image of the pairs kept back, by the averaged weights if there are any."""
        if self.ema is not None:
            self.ema.store(self._parameters())
            self.ema.copy_to(self._parameters())
        try:
            with self.accelerator.autocast():
                loss = validator.loss(self.frozen, self.garment, self.null_clip, self.config.objective, self.alphas)
                self._log({"validation_loss": loss})
                if validator.config.pictures:
                    image = validator.image(self.frozen, self.garment, self.null_clip)
                    self._log_image(image)
        finally:
            if self.ema is not None:
                self.ema.restore(self._parameters())

    def _log(self, values: dict[str, float]) -> None:
        self.accelerator.log(values, step=self.step)
        if self.accelerator.is_main_process:
            with (self.config.run.output / METRICS).open("a") as file:
                file.write(json.dumps({"step": self.step, **values}) + "\n")
        self._say(f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _log_image(self, image: Any) -> None:
        if self.accelerator.is_main_process:
            save_image(image, self.config.run.output, self.step)
        import numpy

        pixels = numpy.asarray(image)[None]
        for tracker in self.accelerator.trackers:
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"validation": pixels}, step=self.step, **layout)

    def _machine(self) -> dict[str, float]:
        values = {"learning_rate": self.schedule.get_last_lr()[0]}
        if torch.cuda.is_available():
            values["peak_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
        return values

    def _averaged_weights(self) -> Any:
        if self.config.run.ema_decay is None:
            return None
        if self.accelerator.distributed_type == "FSDP":
            raise IMAGDressingError(
                "run.ema_decay needs the whole weights on each process, which FSDP takes apart. Leave it out, or use "
                "DDP or DeepSpeed ZeRO-2."
            )
        from diffusers.training_utils import EMAModel

        ema = EMAModel(self._parameters(), decay=self.config.run.ema_decay)
        ema.to(dtype=torch.float32)
        return ema

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.accelerator.unwrap_model(self.garment).parameters())

    def _samples_per_step(self) -> int:
        return self.config.run.batch * self.config.run.accumulation * self.accelerator.num_processes

    def _latent_shape(self) -> tuple[int, int, int]:
        data, vae = self.config.data, self.frozen.vae
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        if data.width % factor or data.height % factor:
            raise IMAGDressingError(f"{data.width} × {data.height} cannot be trained on: take multiples of {factor}.")
        return vae.config.latent_channels, data.height // factor, data.width // factor

    def _say(self, text: str) -> None:
        self.accelerator.print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _accelerator(config: TrainingConfig) -> Any:
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
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = run.batch
    flat = {
        f"{section}.{name}": value for section, part in as_plain(config).items() for name, value in (part or {}).items()
    }
    accelerator.init_trackers(
        "imagdressing",
        {name: str(value) for name, value in flat.items()},
        init_kwargs={"wandb": {"dir": str(run.output)}},  # else it writes to wherever the command was given
    )
    set_seed(run.seed)
    return accelerator


def _optimizer(parameters: list[nn.Parameter], optimiser: Optimiser) -> Any:
    options: dict[str, Any] = {"lr": optimiser.learning_rate, "weight_decay": optimiser.weight_decay}
    if not optimiser.eight_bit:
        return torch.optim.AdamW(parameters, **options)
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise IMAGDressingError(
            f"optimiser.eight_bit needs bitsandbytes (pip install bitsandbytes): {error}"
        ) from error
    return AdamW8bit(parameters, **options)


def _learning_rate(optimizer: Any, config: TrainingConfig) -> Any:
    from diffusers.optimization import get_scheduler

    warmup, steps = config.optimiser.warmup_steps, config.run.steps
    return get_scheduler(config.optimiser.schedule, optimizer, num_warmup_steps=warmup, num_training_steps=steps)


def _null_clip(cache: Cache | None, frozen: Frozen) -> Tensor:
    return null_clip_hidden(frozen.image_encoder) if cache is None else cache.null().float()
