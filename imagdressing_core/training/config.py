"""The configuration of a training run, read from one TOML file and checked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ..command_line import read_toml
from ..images.preprocess import FITS, OFFICIAL_HEIGHT, OFFICIAL_WIDTH

STRICT = ConfigDict(extra="forbid")
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class Models:
    """Local folders and files, or names on the Hugging Face hub (``hub:owner/name/folder``), which are downloaded.

    Attributes:
        base: SD1.5 in diffusers' folders, or one ``.safetensors`` file as ComfyUI has it: the frozen denoising U-Net,
            and the initial weights of the garment U-Net, W'_k and W'_v.
        image_encoder: CLIP ViT-H/14 in transformers' format, its folder or its file.
        vae: The folder or file of another VAE; ``sd-vae-ft-mse`` in the official script.
        ip_adapter: ``ip-adapter-plus_sd15``, the initial weights of the Q-Former, which is random without it.
        start_from: An IMAGDressing checkpoint that replaces all initial weights of the trained parts.
        tokenizer: The folder of CLIP's vocabulary, which a base of one file does not have.
    """

    base: Path
    image_encoder: Path
    vae: Path | None = None
    ip_adapter: Path | None = None
    start_from: Path | None = None
    tokenizer: Path | None = None


@dataclass(frozen=True, config=STRICT)
class Data:
    """Where the pairs come from and how their images are brought to size.

    Attributes:
        format: ``igpair``, the published JSON; ``folder``, one with ``manifest.jsonl``; ``shards``, WebDataset tars.
        path: The JSON file, the folder, or the shards as a glob or a brace expression.
        root: The folder that IGPair's paths are relative to.
        width: Of the person and of the garment that the VAE sees, in pixels.
        height: The same.
        fit: How garments are fitted, as in *Encode Garment*.
        cache: A folder made by the command ``cache``.
        workers: Processes that read images, for each training process.
        shuffle: No longer used: all pairs are shuffled in each epoch.
        copies: A folder for local copies of shards whose names are URLs or ``pipe:`` commands.
        skip_broken: How many broken entries and images a run leaves out before it stops.
        buckets: Train each person at about its own aspect, in as many pixels as ``width`` × ``height`` at most.
    """

    format: Literal["igpair", "folder", "shards"]
    path: str
    root: Path = Path()
    width: Positive = OFFICIAL_WIDTH
    height: Positive = OFFICIAL_HEIGHT
    fit: str = "official"
    cache: Path | None = None
    workers: Count = 4
    shuffle: Positive = 1000
    copies: Path | None = None
    skip_broken: Count = 0
    buckets: bool = False

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit!r}, but one of {', '.join(FITS)} is needed")


@dataclass(frozen=True, config=STRICT)
class Objective:
    """Changes to the loss.

    Attributes:
        noise_offset: 0.05 in the official script, 0 in the paper.
        min_snr_gamma: Off in the official script.
        zero_terminal_snr: On in the official script, off here.
    """

    noise_offset: NotNegative = 0.05
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = None
    zero_terminal_snr: bool = False


@dataclass(frozen=True, config=STRICT)
class Dropout:
    """Probabilities of dropping a sample's CLIP tokens, its text, both, or the garment's latent."""

    image: Probability = 0.05
    text: Probability = 0.05
    both: Probability = 0.05
    garment_latent: Probability = 0.0

    def __post_init__(self) -> None:
        if self.image + self.text + self.both > 1:
            raise ValueError("image, text and both add up to more than 1")


@dataclass(frozen=True, config=STRICT)
class Optimiser:
    """AdamW.

    Attributes:
        learning_rate: The paper's; the official script has 1e-5.
        weight_decay: AdamW's.
        schedule: A name of diffusers' learning rate schedules.
        warmup_steps: Steps in which the learning rate rises from 0.
        clip: The largest norm of the gradient.
        eight_bit: Use bitsandbytes' AdamW8bit.
        parts: The parts that are trained; the rest keeps its initial weights.
        lora_rank: Train a LoRA of this rank in place of the garment U-Net's own weights; the export merges it.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    weight_decay: NotNegative = 0.01
    schedule: Literal["constant_with_warmup", "cosine", "linear"] = "constant_with_warmup"
    warmup_steps: Count = 2000
    clip: Annotated[float, Field(gt=0)] = 1.0
    eight_bit: bool = False
    parts: tuple[Literal["garment_unet", "qformer", "projections"], ...] = ("garment_unet", "qformer", "projections")
    lora_rank: Positive | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts is empty, so nothing would be trained")
        if self.lora_rank is not None and "garment_unet" not in self.parts:
            raise ValueError("lora_rank is of the garment U-Net, which is not among parts")


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """The length of the run and its output.

    Attributes:
        output: A folder, on several machines a shared one.
        steps: Of the optimiser.
        batch: Samples per process.
        accumulation: Batches per step of the optimiser.
        seed: Of everything random.
        precision: Of the computation; the trained weights stay in float32.
        gradient_checkpointing: Less memory, more time.
        ema_decay: Of the averaged weights; without it there are none.
        ema_offload: Keep the averaged weights in the computer's memory, but while they are updated: then neither
            gradients nor activations are on the GPU.
        save_every: Steps between two states.
        keep: How many of the newest states stay.
        milestone_every: States at multiples of this step stay for good.
        log_every: Steps between two lines of the log.
        trackers: Where else the log goes.
    """

    output: Path
    steps: Positive = 200_000
    batch: Positive = 5
    accumulation: Positive = 1
    seed: Count = 42
    precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: bool = False
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    save_every: Positive = 10_000
    keep: Positive = 3
    milestone_every: Positive | None = None
    log_every: Positive = 10
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    ema_offload: bool = False


@dataclass(frozen=True, config=STRICT)
class Validation:
    """Pairs kept out of training, in ``data.format``.

    Attributes:
        path: As ``data.path``.
        every: Steps between two validations.
        pairs: How many are used for the loss.
        pictures: How many of them are sampled with DDIM.
        steps: Sampling steps.
        guidance: Guidance scale w of Eq. 7.
    """

    path: str
    every: Positive = 1000
    pairs: Positive = 32
    pictures: Count = 4
    steps: Positive = 20
    guidance: float = 7.5


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    models: Models
    data: Data
    run: RunConfig
    objective: Objective = Objective()
    dropout: Dropout = Dropout()
    optimiser: Optimiser = Optimiser()
    validation: Validation | None = None


def all_data(config: TrainingConfig) -> list[Data]:
    """Return where the pairs of the training are, and those of the validation where there is one."""
    paths = [config.data.path, *([config.validation.path] if config.validation else [])]
    return [replace(config.data, path=path) for path in paths]


def read_config(path: Path) -> TrainingConfig:
    """Read a TOML file, as :func:`..command_line.read_toml` does."""
    return read_toml(path, TrainingConfig, "a training configuration")


# What may have another value on each machine: the same data and models in other folders.
LOCAL = {"models.base", "models.image_encoder", "models.vae", "models.ip_adapter", "models.start_from", "data.path",
         "models.tokenizer", "data.root", "data.cache", "data.copies", "validation.path", "run.output"}  # fmt: skip


def as_plain(config: TrainingConfig) -> dict[str, Any]:
    """Return the configuration as strings and numbers, {section: {name: value}}."""
    return TypeAdapter(TrainingConfig).dump_python(config, mode="json")


def as_flat(task: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return {"section.name": value} of {section: {name: value}}."""
    return {f"{section}.{name}": value for section, part in task.items() for name, value in (part or {}).items()}
