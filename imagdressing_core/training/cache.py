"""Encoded images on disk: a training step then runs neither the VAE nor CLIP, and CLIP need not be in memory."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import IMAGDressingError
from ..files.storage import save_whole, written_whole
from ..images.preprocess import CLIP_SIZE
from ..on_diffusers.loading import load_frozen
from .config import TrainingConfig, all_data
from .data import garment_pixels, person_pixels, read_pairs
from .hub import local, weights_of
from .model import clip_hidden, vae_moments
from .pairs import ImageSource, TrainingPair
from .provenance import provenance, weights_digest

SETTINGS = "settings.json"
NULL = "null.safetensors"


@dataclass(frozen=True)
class Cache:
    """A folder with a small safetensors file for each image; a person's is of the middle crop.

    An image is known by the sha256 of its file, wherever it lies. The folder also holds ``settings.json`` and
    ``null.safetensors`` (CLIP's view of a dropped image).
    """

    folder: Path

    def read(self, pair: TrainingPair) -> dict[str, Tensor]:
        """Return {"person", "garment"}: the VAE's moments, (8, h, w); "clip": CLIP's hidden states, (257, 1280).

        Raises:
            IMAGDressingError: An image is missing or not in the cache, or its file in the cache is damaged.
        """
        garment = self._load(self.path("garment", pair.garment), pair.garment.name)
        person = self._load(self.path("person", pair.person), pair.person.name)
        return {"person": person["moments"], "garment": garment["moments"], "clip": garment["clip"]}

    def null(self) -> Tensor:
        """Return CLIP's hidden states of a dropped image, (257, 1280)."""
        return self._load(self.folder / NULL, "the dropped image")["clip"][0]

    def path(self, part: str, image: ImageSource) -> Path:
        digest = image.digest
        return self.folder / part / digest[:2] / f"{digest}.safetensors"

    def _load(self, path: Path, name: str) -> dict[str, Tensor]:
        try:
            return {key: tensor.float() for key, tensor in load_file(path).items()}
        except FileNotFoundError as error:
            raise IMAGDressingError(
                f"{name} is not in the cache {self.folder}. The command cache adds missing images."
            ) from error
        except (OSError, SafetensorError) as error:
            raise IMAGDressingError(
                f"{path}, the cache of {name}, is damaged ({error}). Delete it and run the command cache again."
            ) from error


def open_cache(config: TrainingConfig) -> Cache | None:
    """Return the cache that the configuration names, if any.

    Raises:
        IMAGDressingError: It is missing or was made with other models, another size or fit.
    """
    if config.data.cache is None:
        return None
    path = config.data.cache / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IMAGDressingError(f"{path} cannot be read: {error}. Make the cache with the command cache.") from error
    for name, expected in _settings(config).items():
        if found.get(name) != expected:
            raise IMAGDressingError(
                f"The cache {config.data.cache} was made with {name} {found.get(name)!r}, this run has {expected!r}. "
                "Name another folder as data.cache and run the command cache."
            )
    return Cache(config.data.cache)


def prepare_cache(config: TrainingConfig, say: Callable[[str], None]) -> None:
    """Run :func:`build_cache` and say how far it is."""
    from accelerate import PartialState

    done = 0
    for done, _ in enumerate(build_cache(config, say), 1):
        if done % 1000 == 0:
            say(f"{done} images")
    say(f"Process {PartialState().process_index}: {done} images added to {config.data.cache}.")


def build_cache(config: TrainingConfig, say: Callable[[str], None]) -> Iterator[str]:
    """Add all missing images of training and validation; yield the name of each added one.

    The processes that accelerate launched share them out. ``say`` is told of each image that cannot be read.

    Raises:
        IMAGDressingError: The folder cannot be written, has no room, or belongs to other settings.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    if config.data.cache is None:
        raise IMAGDressingError("The configuration names no data.cache. Name a folder to write the cache to.")
    cache, models = Cache(config.data.cache), local(config.models)
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # which only Accelerator reads by itself
    found = load_frozen(models.base, models.image_encoder, models.vae, parts=("vae", "image_encoder"))
    vae, image_encoder = (found[name].to(state.device, torch.float32) for name in ("vae", "image_encoder"))
    if (cache.folder / SETTINGS).exists():
        open_cache(config)
    elif state.is_main_process:
        _save({"clip": clip_hidden(image_encoder, torch.zeros(1, 3, CLIP_SIZE, CLIP_SIZE))}, cache.folder / NULL)
        settings = _settings(config) | {"made": provenance(config.models)}
        with written_whole(cache.folder / SETTINGS) as unfinished:  # other processes look for it
            unfinished.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for part, image in islice(_images(config), state.process_index, None, state.num_processes):
        try:
            path = cache.path(part, image)
            encoded = None if path.exists() else _encoded(part, image.open(), config, vae, image_encoder)
        except IMAGDressingError as error:
            say(str(error))
            continue
        if encoded is not None:
            _save(encoded, path)
            yield image.name


def _images(config: TrainingConfig) -> Iterator[tuple[str, ImageSource]]:
    """Yield ("person" or "garment", image) for every image file once."""
    seen: set[tuple[str, str]] = set()
    for data in all_data(config):
        for pair in read_pairs(data):
            if isinstance(pair, TrainingPair):
                for part, image in (("person", pair.person), ("garment", pair.garment)):
                    if (part, image.name) not in seen:
                        seen.add((part, image.name))
                        yield part, image


def _encoded(part: str, image: Any, config: TrainingConfig, vae: Any, image_encoder: Any) -> dict[str, Tensor]:
    if part == "person":
        return {"moments": vae_moments(vae, person_pixels(image, config.data))[0]}
    pixels, clip = garment_pixels(image, config.data)
    return {"moments": vae_moments(vae, pixels)[0], "clip": clip_hidden(image_encoder, clip)[0]}


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_whole({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, path, {})


def _settings(config: TrainingConfig) -> dict[str, Any]:
    weights = weights_of(config.models)
    return {
        "width": config.data.width,
        "height": config.data.height,
        "fit": config.data.fit,
        "buckets": config.data.buckets or None,  # not named in a cache of an older version
        "key": "sha256 of the image file",
        "vae": weights_digest(weights["vae"]),
        "image_encoder": weights_digest(weights["image_encoder"]),
    }
