"""Aspect buckets: each person keeps about its own aspect, and all samples of a step have one size."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ..errors import IMAGDressingError
from .config import Data
from .pairs import ImageSource, TrainingPair

STEP = 64  # pixels between the sides of two buckets
STEEPEST = 2  # of a bucket's sides; what is steeper loses its ends

Size = tuple[int, int]


def person_size(data: Data, image: Size) -> Size:
    """Return the size at which a person is trained, (width, height): the nearest bucket, or that of all persons."""
    return bucket_of(image, data.width, data.height) if data.buckets else (data.width, data.height)


def bucket_of(image: Size, width: int, height: int) -> Size:
    """Return the bucket whose aspect is nearest to an image's: no larger in area than ``width`` × ``height``."""
    area = width * height
    sides = [(side, area // side // STEP * STEP) for side in range(STEP, area // STEP + 1, STEP)]
    sides += [(high, wide) for wide, high in sides]
    sizes = {size for size in sides if max(size) <= STEEPEST * min(size)}

    def distance(size: Size) -> tuple[float, int]:
        return abs(math.log(size[0] * image[1] / (size[1] * image[0]))), -size[0] * size[1]

    return min(sorted({(width, height), *sizes}), key=distance)


def pair_buckets(pairs: Sequence[TrainingPair], data: Data) -> Tensor:
    """Return the number of each pair's bucket, (pairs,). An unreadable person counts as of ``data``'s own size."""

    def size_of(person: ImageSource) -> Size:
        try:
            return person_size(data, person.size_in_pixels())
        except IMAGDressingError:
            return data.width, data.height

    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(size_of, (pair.person for pair in pairs)))
    numbers = {size: i for i, size in enumerate(sorted(set(sizes)))}
    return torch.tensor([numbers[size] for size in sizes])


def in_groups(order: Tensor, buckets: Tensor, group: int, generator: torch.Generator) -> Tensor:
    """Return the places of an epoch such that each ``group`` of them, one after the other, is of one bucket.

    Args:
        order: A random order of all places, (pairs,).
        buckets: Of :func:`pair_buckets`.
        group: The samples of a step. A bucket's last group is filled up with pairs of the same bucket.
        generator: Of the order of the groups.
    """
    groups: list[Tensor] = []
    for bucket in buckets.unique():
        places = order[buckets[order] == bucket]
        count = -(-len(places) // group) * group
        groups.append(places.repeat(count // len(places) + 1)[:count].view(-1, group))
    together = torch.cat(groups)
    return together[torch.randperm(len(together), generator=generator)].flatten()
