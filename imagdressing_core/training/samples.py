"""The endless stream of training samples, in which everything is a function of the seed and a sample's position.

A position counts samples over all processes. So a run that goes on after a stop, or on another number of processes with
the same batch in all, sees the same samples with the same noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, get_worker_info

from ..errors import IMAGDressingError
from ..images.preprocess import FITS
from ..on_diffusers.pipeline import clip_pixels, vae_pixels
from .cache import Cache
from .config import Data, Dropout
from .data import TrainingPair, cover, read_shards
from .dropout import conditioning_dropout

Sample = dict[str, Any]
TIMESTEPS = 1000


@dataclass(frozen=True)
class ProcessBatches:
    """Which samples a process sees: batch n of process ``rank`` is at (n·processes + rank)·batch."""

    batch: int
    rank: int = 0
    processes: int = 1

    def positions(self, n: int) -> list[int]:
        first = (n * self.processes + self.rank) * self.batch
        return list(range(first, first + self.batch))


@dataclass(frozen=True)
class SampleMaker:
    """Turns a pair into a sample: images as pixels, or from the cache, one caption, and all random draws.

    latent_shape: of one latent, (channels, height, width).
    """

    data: Data
    dropout: Dropout
    latent_shape: tuple[int, int, int]
    seed: int
    cache: Cache | None = None

    def sample(self, pair: TrainingPair, position: int) -> Sample:
        """Return the sample at ``position``; the meaning of its entries is that of ``TrainingBatch`` and ``RandomDraws``.

        Raises:
            IMAGDressingError: an image cannot be read, or the cache has not got it.
        """
        generator = torch.Generator().manual_seed((self.seed << 40) + position)
        across, down, draw, garment_draw, which = torch.rand(5, generator=generator).tolist()
        dropped = conditioning_dropout(self.dropout, draw, garment_draw)
        noise, person, garment = (torch.randn(self.latent_shape, generator=generator) for _ in range(3))
        draws = {
            "timestep": torch.randint(TIMESTEPS, (), generator=generator),
            "noise": noise,
            "offset": torch.randn(len(noise), 1, 1, generator=generator),
            "person_noise": person,
            "garment_noise": garment,
        }
        caption = "" if dropped.text else pair.captions[int(which * len(pair.captions))]
        conditions = {"caption": caption, "no_image": dropped.image, "no_garment_latent": dropped.garment_latent}
        images = self._pixels(pair, across, down) if self.cache is None else self.cache.read(pair)
        return images | draws | conditions

    def _pixels(self, pair: TrainingPair, across: float, down: float) -> Sample:
        """Return {"person", "garment"}: (3, height, width), −1 … 1; "clip": (3, 224, 224)."""
        width, height = self.data.width, self.data.height
        fitted = FITS[self.data.fit](pair.garment.open(), width, height)
        person = cover(pair.person.open(), width, height, across, down)
        return {
            "person": vae_pixels([person])[0],
            "garment": vae_pixels([fitted.vae])[0],
            "clip": clip_pixels([fitted.clip])[0],
        }


class PairSamples(Dataset[Any]):
    """Samples by position, of pairs shuffled anew in each epoch."""

    def __init__(self, pairs: Sequence[TrainingPair], maker: SampleMaker) -> None:
        self._pairs = pairs
        self._maker = maker
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __getitem__(self, position: int) -> Sample | IMAGDressingError:
        epoch, place = divmod(position, len(self._pairs))
        return _or_error(self._maker, self._pairs[self._order(epoch)[place]], position)

    def _shuffled(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed((self._maker.seed << 20) + epoch)
        return torch.randperm(len(self._pairs), generator=generator).tolist()

    def __getstate__(self) -> dict[str, Any]:
        return {"_pairs": self._pairs, "_maker": self._maker}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_pairs"], state["_maker"])


@dataclass(frozen=True)
class ShardSamples(IterableDataset[Any]):
    """Samples streamed from shards, which are dealt out to processes and their workers anew in each epoch.

    first: the batch to begin with. What comes before it is read past, undecoded.
    """

    names: Sequence[str]
    maker: SampleMaker
    share: ProcessBatches
    first: int = 0

    def __iter__(self) -> Iterator[Sample | IMAGDressingError]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        # A loader takes batches from its workers in turn, so every worker has each ``workers``-th batch, of its own
        # shards. After a stop the first worker is asked for batch ``first``: it takes over whoever would have had that.
        begin = self.first + worker
        pairs = self._pairs(begin % workers, workers)
        try:
            for _ in range(begin // workers * self.share.batch):
                next(pairs)
            for n in count(begin, workers):
                for position in self.share.positions(n):
                    yield _or_error(self.maker, next(pairs), position)
        except IMAGDressingError as error:
            yield error

    def _pairs(self, lane: int, lanes: int) -> Iterator[TrainingPair]:
        """Read this lane's shards over and over, in an order of its own in each epoch."""
        for epoch in count():
            random = Random(f"{self.maker.seed} {epoch}")
            shards = random.sample(list(self.names), len(self.names))
            mine = shards[self.share.rank * lanes + lane :: self.share.processes * lanes]
            if not mine:
                raise IMAGDressingError(
                    f"{len(self.names)} shards for {self.share.processes} processes with {lanes} workers each: "
                    "there must be at least one for each worker. Write more shards, or set data.workers lower."
                )
            yield from _shuffled(
                read_shards(mine), self.maker.data.shuffle, Random(f"{self.maker.seed} {epoch} {mine}")
            )


def loader(dataset: PairSamples | ShardSamples, share: ProcessBatches, batches: range, workers: int) -> DataLoader[Any]:
    """Return the batches with numbers ``batches`` of one process."""
    common: dict[str, Any] = {"num_workers": workers, "collate_fn": collated, "pin_memory": torch.cuda.is_available()}
    if isinstance(dataset, ShardSamples):
        return DataLoader(dataset, batch_size=share.batch, **common)
    return DataLoader(dataset, batch_sampler=[share.positions(n) for n in batches], **common)


def collated(samples: Sequence[Sample | IMAGDressingError]) -> dict[str, Any] | IMAGDressingError:
    """Return samples as one batch, or what was wrong with one of them: errors of a worker arrive as they are."""
    for sample in samples:
        if isinstance(sample, IMAGDressingError):
            return sample
    return default_collate(list(samples))


def tensors_to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: one.to(device, non_blocking=True) if isinstance(one, Tensor) else one for key, one in batch.items()}


def _or_error(maker: SampleMaker, pair: TrainingPair, position: int) -> Sample | IMAGDressingError:
    try:
        return maker.sample(pair, position)
    except IMAGDressingError as error:
        return IMAGDressingError(f"{pair.name}: {error}")


def _shuffled(entries: Iterator[TrainingPair | IMAGDressingError], size: int, random: Random) -> Iterator[TrainingPair]:
    """Return entries in a random order of nearby ones, ``size`` of them held at a time."""
    held: list[TrainingPair] = []
    for entry in entries:
        if isinstance(entry, IMAGDressingError):
            raise entry
        held.append(entry)
        if len(held) > size:
            i = random.randrange(len(held))
            held[i], held[-1] = held[-1], held[i]
            yield held.pop()
    random.shuffle(held)
    yield from held
