"""What VAE and CLIP make of each picture, kept on disk: a step then runs neither, and CLIP need not be loaded."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import IMAGDressingError
from ..files.storage import save_whole
from ..images.preprocess import FITS
from ..on_diffusers.pipeline import clip_hidden_states, clip_pixels, vae_pixels
from .config import TrainingConfig
from .data import Pair, Picture, cover, read_pairs
from .model import load_models, null_clip_hidden

SETTINGS = "settings.json"
NULL = "null.safetensors"


@dataclass(frozen=True)
class Cache:
    """A folder of small safetensors files, one for each picture; a person's is of the middle crop.

    folder: holds ``settings.json``, ``null.safetensors`` (CLIP's view of nothing), ``person/`` and ``garment/``.
    """

    folder: Path

    def read(self, pair: Pair) -> dict[str, Tensor]:
        """Return {"person", "garment"}: the VAE's moments, (8, h, w); "clip": CLIP's hidden states, (257, 1280).

        Raises:
            IMAGDressingError: a picture is not in the cache, or its file is damaged.
        """
        garment = self._load(self.path("garment", pair.garment), pair.garment)
        person = self._load(self.path("person", pair.person), pair.person)
        return {"person": person["moments"], "garment": garment["moments"], "clip": garment["clip"]}

    def null(self) -> Tensor:
        """Return CLIP's hidden states of a dropped image, (1, 257, 1280)."""
        return self._load(self.folder / NULL, Picture("the dropped image"))["clip"]

    def path(self, part: str, picture: Picture) -> Path:
        return self.folder / part / picture.digest[:2] / f"{picture.digest}.safetensors"

    def _load(self, path: Path, picture: Picture) -> dict[str, Tensor]:
        try:
            return {name: tensor.float() for name, tensor in load_file(path).items()}
        except FileNotFoundError as error:
            raise IMAGDressingError(
                f"{picture.name} is not in the cache {self.folder}. The command cache adds what is missing."
            ) from error
        except (OSError, SafetensorError) as error:
            raise IMAGDressingError(
                f"{path}, the cache of {picture.name}, is damaged ({error}). Delete it and run the command cache again."
            ) from error


def open_cache(config: TrainingConfig) -> Cache | None:
    """Return the cache that the configuration names, if any.

    Raises:
        IMAGDressingError: it is not there or was made with other models, another size or fit.
    """
    if config.data.cache is None:
        return None
    path = config.data.cache / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IMAGDressingError(f"{path} cannot be read: {error}. Make the cache with the command cache.") from error
    expected = _settings(config)
    differing = [name for name, value in expected.items() if found.get(name) != value]
    if differing:
        name = differing[0]
        raise IMAGDressingError(
            f"The cache {config.data.cache} was made with {name} {found.get(name)!r}, the configuration has "
            f"{expected[name]!r}. Name another folder as data.cache and run the command cache."
        )
    return Cache(config.data.cache)


def prepare_cache(config: TrainingConfig, say: Callable[[str], None]) -> None:
    """Load VAE and image encoder and run :func:`build_cache` on this process's share, as accelerate launched it."""
    from accelerate import PartialState

    state = PartialState()
    frozen, _ = load_models(config.models)
    frozen.to(torch.device(state.device or "cpu"), torch.float32)
    done = 0
    with torch.no_grad():
        for done, _ in enumerate(
            build_cache(config, frozen.vae, frozen.image_encoder, state.process_index, state.num_processes), 1
        ):
            if done % 1000 == 0:
                say(f"{done} pictures")
    say(f"Process {state.process_index}: {done} pictures added to {config.data.cache}.")


def build_cache(
    config: TrainingConfig, vae: Any, image_encoder: Any, rank: int = 0, processes: int = 1
) -> Iterator[str]:
    """Add all pictures that are missing, of training and validation; yield the name of each that was added.

    vae, image_encoder: on the device and in the precision to compute in. Broken entries are left out.
    rank, processes: which share of the pictures is this process's.

    Raises:
        IMAGDressingError: the folder cannot be written, has no room, or belongs to other settings.
    """
    if config.data.cache is None:
        raise IMAGDressingError("The configuration names no data.cache, so there is nowhere to put it.")
    cache = Cache(config.data.cache)
    if (cache.folder / SETTINGS).exists():
        open_cache(config)
    elif rank == 0:
        _save({"clip": null_clip_hidden(image_encoder)}, cache.folder / NULL)
        (cache.folder / SETTINGS).write_text(json.dumps(_settings(config), indent=2) + "\n", encoding="utf-8")
    for i, (part, picture) in enumerate(_pictures(config)):
        path = cache.path(part, picture)
        if i % processes == rank and not path.exists():
            _save(_encoded(part, picture, config, vae, image_encoder), path)
            yield picture.name


def _pictures(config: TrainingConfig) -> Iterator[tuple[str, Picture]]:
    seen: set[tuple[str, str]] = set()
    for path in (None, *([config.validation.path] if config.validation else [])):
        for pair in read_pairs(config.data, path):
            if isinstance(pair, Pair):
                for part, picture in (("person", pair.person), ("garment", pair.garment)):
                    if (part, picture.digest) not in seen:
                        seen.add((part, picture.digest))
                        yield part, picture


def _encoded(part: str, picture: Picture, config: TrainingConfig, vae: Any, image_encoder: Any) -> dict[str, Tensor]:
    width, height = config.data.width, config.data.height
    opened = picture.open()
    if part == "person":
        return {"moments": _moments(vae, vae_pixels([cover(opened, width, height)]))}
    fitted = FITS[config.data.fit](opened, width, height)
    clip = clip_pixels([fitted.clip]).to(image_encoder.device, image_encoder.dtype)
    return {
        "moments": _moments(vae, vae_pixels([fitted.vae])),
        "clip": clip_hidden_states(image_encoder, clip)[0],
    }


def _moments(vae: Any, pixels: Tensor) -> Tensor:
    return vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.parameters[0]


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_whole({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, path, {})


def _settings(config: TrainingConfig) -> dict[str, Any]:
    return {
        "width": config.data.width,
        "height": config.data.height,
        "fit": config.data.fit,
        "vae": str(config.models.vae or config.models.base / "vae"),
        "image_encoder": str(config.models.image_encoder),
    }
