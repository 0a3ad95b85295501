"""One typed file that says all there is to say about a training run."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..errors import IMAGDressingError
from ..images.preprocess import FITS, OFFICIAL_HEIGHT, OFFICIAL_WIDTH

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STRICT = ConfigDict(extra="forbid")
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class Models:
    """Local folders and files; nothing is downloaded.

    base: SD1.5 in diffusers' folders; it is the frozen denoising U-Net, and where garment U-Net, W'_k and W'_v start.
    vae: another VAE's folder, officially ``sd-vae-ft-mse``. image_encoder: CLIP ViT-H/14, transformers' format.
    ip_adapter: ``ip-adapter-plus_sd15``, where the Q-Former starts; without, it starts at random.
    start_from: an IMAGDressing checkpoint to go on from, in place of all three starts.
    """

    base: Path
    image_encoder: Path
    vae: Path | None = None
    ip_adapter: Path | None = None
    start_from: Path | None = None


@dataclass(frozen=True, config=STRICT)
class Data:
    """Where pairs come from and how they are brought to size.

    format: ``igpair``, the published JSON; ``folder``, one with a ``manifest.jsonl``; ``shards``, WebDataset's tars.
    path: the JSON file, the folder, or the shards as a glob or a brace expression. root: where IGPair's paths start.
    fit: how garments are fitted, as in Encode Garment. cache: a folder made by the command ``cache``.
    workers: processes that read images, for each GPU. shuffle: samples of a shard shuffled at a time.
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

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit!r}, but one of {', '.join(FITS)} is needed")


@dataclass(frozen=True, config=STRICT)
class Objective:
    """What is done to the loss. noise_offset: official 0.05, the paper's 0; the rest is off officially but the last."""

    noise_offset: NotNegative = 0.05
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = None
    zero_terminal_snr: bool = False


@dataclass(frozen=True, config=STRICT)
class Dropout:
    """How often a sample goes without the image's CLIP tokens, the text, both, or the garment's latent."""

    image: Probability = 0.05
    text: Probability = 0.05
    both: Probability = 0.05
    garment_latent: Probability = 0.0

    def __post_init__(self) -> None:
        if self.image + self.text + self.both > 1:
            raise ValueError("image, text and both add up to more than 1")


@dataclass(frozen=True, config=STRICT)
class Optimiser:
    """AdamW. learning_rate: the paper's; the official script has 1e-5. schedule: a name of diffusers' schedulers."""

    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    weight_decay: NotNegative = 0.01
    schedule: Literal["constant_with_warmup", "cosine", "linear"] = "constant_with_warmup"
    warmup_steps: Count = 2000
    clip: Annotated[float, Field(gt=0)] = 1.0
    eight_bit: bool = False


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """How long and where to. batch: per process; accumulation: batches for each step of the optimiser.

    ema_decay: of the averaged weights, none when left out. keep: checkpoints that stay, the newest ones.
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
    log_every: Positive = 10
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)


@dataclass(frozen=True, config=STRICT)
class Validation:
    """Pairs kept back, in ``data.format``: their loss and images of some, every so many steps.

    path: as ``data.path``. pairs: how many for the loss; pictures: how many of them are sampled, with DDIM.
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


def read_config(path: Path) -> TrainingConfig:
    """Read a TOML file.

    Raises:
        IMAGDressingError: it is missing, no TOML, or has unknown, missing or impossible entries: all are named.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise IMAGDressingError(f"{path} cannot be read as a configuration in TOML: {error}") from error
    try:
        return TypeAdapter(TrainingConfig).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(_problem(one) for one in error.errors())
        raise IMAGDressingError(f"{path} is not a training configuration: {problems}.") from error


def as_plain(config: TrainingConfig) -> dict[str, Any]:
    """Return the configuration as strings and numbers, {section: {name: value}}."""
    return TypeAdapter(TrainingConfig).dump_python(config, mode="json")


def _problem(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"{name} is unknown"
    if error["type"] in ("missing", "missing_argument"):
        return f"{name} is missing"
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (found {str(error['input'])[:80]!r})"
