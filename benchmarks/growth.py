"""How the cost of a step grows: with the number of garments, their size, the batch and the image's size."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import compared_models as compared
import torch
from bench import DEVICE, ON_GPU, ROUNDS, Row, against, save

GARMENTS = (1, 2, 4, 8)
BATCHES = (2, 4)


@dataclass(frozen=True)
class Sizes:
    """(width, height) in pixels: of image and garment where nothing else is said, and what they grow to."""

    base: tuple[int, int]
    garments: tuple[tuple[int, int], ...]
    images: tuple[tuple[int, int], ...]


GPU = Sizes((512, 640), ((512, 640), (768, 960)), ((384, 480), (768, 960)))
CPU = Sizes((256, 320), ((512, 640), (768, 960)), ((384, 480),))
TINY = Sizes((64, 64), ((128, 64),), ((64, 128),))


def garments_and_their_size(sizes: Sizes, rounds: int) -> Iterator[Row]:
    garments = [compared.read_garment(*sizes.base, seed).garment for seed in range(max(GARMENTS))]
    names = {f"{count} garments of {_size(sizes.base)}": garments[:count] for count in GARMENTS}
    names |= {f"1 garment of {_size(size)}": [compared.read_garment(*size).garment] for size in sizes.garments}
    models = {name: compared.ours(*several) for name, several in names.items()}
    step = compared.steps_in_turn({"plain": compared.plain()} | models, *sizes.base, rounds=rounds)
    for name in names:
        yield against(f"image of {_size(sizes.base)}, {name}, {DEVICE}", step[name], step["plain"])


def images(sizes: Sizes, rounds: int) -> Iterator[Row]:
    models = {"plain": compared.plain(), "ours": compared.ours(compared.read_garment(*sizes.base).garment)}
    for size, batch in [(sizes.base, batch) for batch in BATCHES] + [(size, 1) for size in sizes.images]:
        step = compared.steps_in_turn(models, *size, batch, rounds=rounds)
        name = f"image of {_size(size)}, batch {batch}, 1 garment of {_size(sizes.base)}, {DEVICE}"
        yield against(name, step["ours"], step["plain"])


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try this out")
    given = parser.parse_args()
    sizes = TINY if given.tiny else GPU if ON_GPU else CPU
    compared.start()
    with torch.inference_mode():
        save("growth", garments_and_their_size(sizes, given.rounds))
        save("growth", images(sizes, given.rounds))


if __name__ == "__main__":
    main()
