"""How the cost of a step grows: with the number of garments, their size, the batch and the picture's size."""

from collections.abc import Iterator

import arrangements
import torch
from results_file import DEVICE, Row, save
from timing import ON_GPU, against, steps_in_turn

SIZE = (512, 640) if ON_GPU else (256, 320)
GARMENTS = (1, 2, 4, 8)
GARMENT_SIZES = ((512, 640), (768, 960))
BATCHES = (2, 4)
PICTURE_SIZES = ((384, 480), (768, 960)) if ON_GPU else ((384, 480),)
ROUNDS = 5 if ON_GPU else 2


def garments_and_their_size() -> Iterator[Row]:
    garments = [arrangements.read_garment(*SIZE, seed).garment for seed in range(max(GARMENTS))]
    names = {f"{count} garments of {_size(SIZE)}": garments[:count] for count in GARMENTS}
    names |= {f"1 garment of {_size(size)}": [arrangements.read_garment(*size).garment] for size in GARMENT_SIZES}
    models = {name: arrangements.ours(*worn) for name, worn in names.items()}
    step = steps_in_turn({"plain": arrangements.plain()} | models, *SIZE, rounds=ROUNDS)
    for name in names:
        yield against(f"picture of {_size(SIZE)}, {name}, {DEVICE}", step[name], step["plain"])


def pictures() -> Iterator[Row]:
    models = {"plain": arrangements.plain(), "ours": arrangements.ours(arrangements.read_garment(*SIZE).garment)}
    for size, batch in [(SIZE, batch) for batch in BATCHES] + [(size, 1) for size in PICTURE_SIZES]:
        step = steps_in_turn(models, *size, batch, rounds=ROUNDS)
        name = f"picture of {_size(size)}, batch {batch}, 1 garment of {_size(SIZE)}, {DEVICE}"
        yield against(name, step["ours"], step["plain"])


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


if __name__ == "__main__":
    arrangements.start()
    with torch.inference_mode():
        save("growth", garments_and_their_size())
        save("growth", pictures())
