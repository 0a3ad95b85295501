"""The endless sequence of training samples. A sample depends on the seed and on its position only.

Positions count over all processes. A run that was stopped, or that continues on another number of processes with the
same samples per step, therefore sees the same samples with the same noise.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..errors import IMAGDressingError
from .buckets import in_groups, pair_buckets
from .cache import Cache
from .config import Data, Dropout
from .data import garment_pixels, person_pixels
from .objective import RandomDraws
from .pairs import TrainingPair

Sample = dict[str, Any]
TIMESTEPS = 1000


@dataclass(frozen=True)
class Dropped:
    """The conditions that one sample goes without.

    The garment's term itself is never dropped: only frozen weights would act, and the sample would teach nothing.

    Attributes:
        image: CLIP sees zeros, as in the official script.
        text: The prompt is empty.
        garment_latent: The garment U-Net sees zeros.
    """

    image: bool
    text: bool
    garment_latent: bool


def conditioning_dropout(rates: Dropout, draw: float, garment_draw: float) -> Dropped:
    """Decide by two numbers, uniform in 0 … 1. Image only, text only and both exclude each other.

    Source: official IGPair.py, ``__getitem__``, which never drops the garment's latent.
    """
    image = draw < rates.image
    text = not image and draw < rates.image + rates.text
    both = not image and not text and draw < rates.image + rates.text + rates.both
    return Dropped(image or both, text or both, garment_draw < rates.garment_latent)


@dataclass(frozen=True)
class SampleMaker:
    """Makes a sample from a pair: images as pixels or from the cache, one caption, and all random numbers.

    ``latent_shape`` is that of one latent, (channels, height, width).
    """

    data: Data
    dropout: Dropout
    latent_shape: tuple[int, int, int]
    seed: int
    cache: Cache | None = None

    def sample(self, pair: TrainingPair, position: int) -> Sample:
        """Return the sample at ``position``. ``TrainingBatch`` explains its entries.

        Raises:
            IMAGDressingError: An image cannot be read or is not in the cache.
        """
        generator = torch.Generator().manual_seed((self.seed << 40) + position)
        across, down, draw, garment_draw, which = torch.rand(5, generator=generator).tolist()
        dropped = conditioning_dropout(self.dropout, draw, garment_draw)
        if self.cache is None:
            garment, clip = garment_pixels(pair.garment.open(), self.data)
            person = person_pixels(pair.person.open(), self.data, across, down)
            images = {"person": person[0], "garment": garment[0], "clip": clip[0]}
        else:
            images = self.cache.read(pair)
        if dropped.image:
            images["clip"] = torch.zeros_like(images["clip"]) if self.cache is None else self.cache.null()
        channels, height, _ = self.latent_shape
        factor = 1 if self.cache is not None else self.data.height // height  # the cache has moments, not pixels
        sizes = [[side // factor for side in images[name].shape[1:]] for name in ("person", "person", "garment")]
        noise, of_person, of_garment = (torch.randn(channels, *size, generator=generator) for size in sizes)
        timestep = torch.randint(TIMESTEPS, (), generator=generator)
        offset = torch.randn(channels, 1, 1, generator=generator)
        caption = "" if dropped.text else pair.captions[int(which * len(pair.captions))]
        draws = RandomDraws(timestep, noise, offset, of_person, of_garment)
        kept = torch.full((1, 1, 1), float(not dropped.garment_latent))
        return images | {"caption": caption, "garment_kept": kept, "draws": draws}


class PairSamples(Dataset[Any]):
    """Samples by position. Each epoch has all pairs in another random order, with buckets a step's in one bucket.

    Args:
        pairs: The pairs.
        maker: Makes a sample of a pair.
        group: The samples of a step, over all processes.
    """

    def __init__(self, pairs: Sequence[TrainingPair], maker: SampleMaker, group: int = 1) -> None:
        self._pairs = pairs
        self._maker = maker
        self._group = group
        self._buckets = pair_buckets(pairs, maker.data) if maker.data.buckets else None
        self._orders = {0: self._shuffled(0)}  # of the epochs at hand
        self._epoch_size = len(self._orders[0])

    def __getitem__(self, position: int) -> Sample | IMAGDressingError:
        """Return the sample at ``position``, or the error that ends the run.

        The pair that follows, with buckets in the same step, replaces a broken one; "broken" lists what was left out.
        """
        broken: list[str] = []
        first = position - position % self._group
        for place in range(position, position + self._maker.data.skip_broken + 1):
            pair = self._pair(place if self._buckets is None else first + (place - first) % self._group)
            try:
                return self._maker.sample(pair, position) | {"broken": broken}
            except IMAGDressingError as error:
                broken.append(f"{pair.name}: {error}")
        return IMAGDressingError(broken[0])

    def _pair(self, position: int) -> TrainingPair:
        epoch, place = divmod(position, self._epoch_size)
        if epoch not in self._orders:
            self._orders = {near: one for near, one in self._orders.items() if abs(near - epoch) < 2}
            self._orders[epoch] = self._shuffled(epoch)
        return self._pairs[int(self._orders[epoch][place])]

    def _shuffled(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed((self._maker.seed << 20) + epoch)
        order = torch.randperm(len(self._pairs), generator=generator)
        return order if self._buckets is None else in_groups(order, self._buckets, self._group, generator)


def loader(
    dataset: PairSamples, batches: range, batch: int, workers: int, rank: int = 0, processes: int = 1
) -> DataLoader[Any]:
    """Return the batches with these numbers of one process; number n begins at (n·processes + rank)·batch."""
    starts = [(n * processes + rank) * batch for n in batches]
    return DataLoader(
        dataset,
        batch_sampler=[list(range(start, start + batch)) for start in starts],
        num_workers=workers,
        collate_fn=collated,
        worker_init_fn=outlive_sigterm,
        pin_memory=torch.cuda.is_available(),
    )


def outlive_sigterm(_: int) -> None:
    """Survive one SIGTERM in a process that reads images: SLURM sends it to all, and the run saves its state first."""
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def collated(samples: Sequence[Sample | IMAGDressingError]) -> dict[str, Any] | IMAGDressingError:
    """Return samples as one batch, or the first error: a worker process cannot raise it by itself."""
    broken: list[str] = []
    for sample in samples:
        if isinstance(sample, IMAGDressingError):
            return sample
        broken += sample.pop("broken", [])
    return default_collate(list(samples)) | {"broken": broken}
