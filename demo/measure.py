"""Does an unseen garment arrive, and are the prompt's scene and pose followed? Scores of images, whatever made them.

``python -m demo.measure WEIGHTS FOLDER`` lets the narrow models dress 48 people in garments that training never saw, in
their own garment, in another and in none, and writes ``scores.json`` and ``images.png`` into FOLDER.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count, islice, product
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from imagdressing_core.on_diffusers.pipeline import denoise, official_scheduler
from imagdressing_core.on_diffusers.unet import GarmentInputs, GarmentModel, install_hybrid_attention

from . import data, drawing, parts, world
from .models import unpacked
from .narrow import narrow_decoder, narrow_unet

UNSEEN = 48
SEED, STEPS, GUIDANCE = 123, 20, 2.5
LOOK = 64  # pixels of the width at which images are looked at
CENTRES, SIZES = (0.42, 0.46, 0.5, 0.54, 0.58), (0.94, 0.99, 1.04)
EXAMPLES = 24  # of each scene and each pose
OUTLINE = 0.1  # distance of colours
SHOWN = 10
DRESSES: Sequence[str] = ("its own garment", "another garment", "no garment")


Maker = Callable[[Sequence[world.Person], Sequence[drawing.Cloth] | None], list[Image.Image]]


@dataclass(frozen=True)
class Models:
    """The narrow models, ready to make images. Without a decoder images are one pixel for each latent."""

    unet: Any
    garment: GarmentModel | None
    decoder: Any


def load(weights: Mapping[str, Mapping[str, Tensor]]) -> Models:
    """Return the models of {part: weights}; garment and decoder may be missing."""
    unet = narrow_unet()
    unet.load_state_dict(weights["unet"], strict=False)  # idle transformers are not kept
    install_hybrid_attention(unet)
    garment = decoder = None
    if "garment" in weights:
        garment = parts.garment_model(unet)
        garment.load_state_dict(weights["garment"], strict=False)
    if "decoder" in weights:
        decoder = narrow_decoder()
        decoder.load_state_dict(weights["decoder"], strict=False)
    return Models(unet.eval(), garment, decoder)


@torch.inference_mode()
def make(
    models: Models,
    people: Sequence[world.Person],
    clothes: Sequence[drawing.Cloth] | None = None,
    strength: float = 1.0,
    width: int = data.WIDTH,
    guidance: float = GUIDANCE,
) -> list[Image.Image]:
    """Return an image of each person's caption, in the clothes given; always from the same noise."""
    text = data.context(data.words(people))
    shape = (len(people), data.LATENT_CHANNELS, round(width * drawing.ASPECT) // data.CELL, width // data.CELL)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    worn = None
    if clothes is not None and models.garment is not None:
        flat = data.latents(drawing.garment_image(cloth, width) for cloth in clothes)
        worn = GarmentInputs(models.garment(flat, torch.zeros(len(clothes), 1, 1)), strength)
    latent = denoise(models.unet, noise, text, torch.zeros_like(text), worn, official_scheduler(), STEPS, guidance)
    if models.decoder is None:
        small = images(data.coarse(latent))
        return [one.resize((width, round(width * drawing.ASPECT)), Image.Resampling.BICUBIC) for one in small]
    return images(models.decoder.decoder(models.decoder.post_quant_conv(latent)))


def images(pixels: Tensor) -> list[Image.Image]:
    values = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
    return [Image.fromarray(one.numpy()) for one in values]


def score(image: Image.Image, asked: world.Person, cloth: drawing.Cloth) -> dict[str, float]:
    """Return how near an image is to what was asked for.

    colour_error: distance of the torso's mean colour from the garment's, 0 … 1; of trousers the legs'. pattern: 1 if,
    of the five patterns in the garment's colours, the right one is nearest. scene: 1 if its surroundings are most
    like the scene asked.
    """
    seen = looked_at(image)
    found = {
        (place, pattern): _error(seen, place, pattern, cloth) for place in places() for pattern in drawing.PATTERNS
    }
    (place, pattern), _ = min(found.items(), key=lambda item: item[1])
    inside = _covered(place, cloth.kind)
    truth = _worn(place, cloth)
    distance = numpy.linalg.norm(seen[inside].mean(axis=0) - truth[inside].mean(axis=0))
    return {
        "colour_error": float(distance / 3**0.5),
        "pattern": float(pattern == cloth.pattern),
        "scene": float(scene_of(image) == asked.scene),
    }


def places() -> list[tuple[float, float]]:
    """Return where a figure may stand and how large it may be."""
    return list(product(CENTRES, SIZES))


def scene_of(image: Image.Image) -> str:
    """Return the scene whose drawn examples come nearest, beside and below the figure."""
    seen = looked_at(image)[_surroundings()]
    return min(world.SCENES, key=lambda scene: min(float(numpy.square(seen - one).mean()) for one in _examples(scene)))


def pose_of(image: Image.Image) -> str:
    """Return the pose whose drawn examples have the most similar outline. image: of somebody in the studio."""
    seen = _outline(image)
    return min(world.POSES, key=lambda pose: min(float((seen ^ one).mean()) for one in _outlines(pose)))


def looked_at(image: Image.Image) -> Any:
    """Return an image small, (height, width, 3), 0 … 1."""
    size = (LOOK, round(LOOK * drawing.ASPECT))
    return numpy.asarray(image.resize(size, Image.Resampling.BOX), dtype=numpy.float64) / 255


def summary(scores: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return (mean, standard error) of each score."""
    found: dict[str, tuple[float, float]] = {}
    for name in scores[0]:
        values = numpy.array([one[name] for one in scores])
        found[name] = (round(float(values.mean()), 4), round(float(values.std(ddof=1) * len(values) ** -0.5), 4))
    return found


def _error(seen: Any, place: tuple[float, float], pattern: str, cloth: drawing.Cloth) -> float:
    inside = _covered(place, cloth.kind)
    truth = _worn(place, drawing.Cloth(cloth.kind, pattern, cloth.colour, cloth.second))
    return float(numpy.square(seen[inside] - truth[inside]).mean())


@cache
def _somebody(place: tuple[float, float]) -> world.Person:
    """Return a figure there whose arms hide nothing of the torso."""
    plain = drawing.Cloth("shirt", "plain", drawing.WHITE, drawing.WHITE)
    trousers = drawing.Cloth("trousers", "plain", drawing.BLACK, drawing.BLACK)
    arms, skin = ((20.0, 10.0), (20.0, 10.0)), world.SKIN[0]
    return world.Person("man", "black", "studio", "standing", skin, plain, trousers, *place, arms, (5.0, 5.0), 0)


@lru_cache(maxsize=4096)
def _worn(place: tuple[float, float], cloth: drawing.Cloth) -> Any:
    return looked_at(world.image(world.in_clothes(_somebody(place), **{cloth.kind: cloth}), 2 * LOOK))


@cache
def _covered(place: tuple[float, float], kind: str) -> Any:
    """Return where a shirt, or trousers, are seen whatever the arms do, (height, width)."""
    mask = world.mask(_somebody(place), kind, 2 * LOOK).resize((LOOK, round(LOOK * drawing.ASPECT)))
    across = numpy.abs((numpy.arange(LOOK) + 0.5) / LOOK - place[0]) < 0.125 * place[1]
    return (numpy.asarray(mask) == 255) & across


@cache
def _surroundings() -> Any:
    """Return where nobody ever stands, (height, width)."""
    y, x = numpy.mgrid[: round(LOOK * drawing.ASPECT), :LOOK] / LOOK
    return (numpy.abs(x - 0.5) > 0.34) | (y > 1.22)


@cache
def _examples(scene: str) -> list[Any]:
    people = _people(lambda person: person.scene == scene)
    return [looked_at(world.image(person, 2 * LOOK))[_surroundings()] for person in people]


@cache
def _outlines(pose: str) -> list[Any]:
    people = _people(lambda person: (person.scene, person.pose) == ("studio", pose))
    return [_outline(world.image(person, 2 * LOOK)) for person in people]


def _outline(image: Image.Image) -> Any:
    """Return what stands out from the wall behind, above the floor, (rows, width) of bools."""
    seen = looked_at(image)[: round(0.95 * LOOK)]
    wall = numpy.median(seen[:, :4].reshape(-1, 3), axis=0)
    return numpy.linalg.norm(seen - wall, axis=-1) > OUTLINE


def _people(wanted: Callable[[world.Person], bool]) -> list[world.Person]:
    """Return EXAMPLES drawn people of a kind."""
    return list(islice(filter(wanted, (data.drawn(number, "examples") for number in count())), EXAMPLES))


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Return images of one size in a row."""
    return Image.fromarray(numpy.concatenate([numpy.asarray(one) for one in images], axis=1))


def sheet(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str]) -> Image.Image:
    """Return images in rows under the titles of their columns."""
    width, height = rows[0][-1].size
    whole = Image.new("RGB", (width * len(titles), 16 + height * len(rows)), "white")
    pen = ImageDraw.Draw(whole)
    for column, title in enumerate(titles):
        pen.text((column * width + 4, 2), title, fill="black")
        for row, line in enumerate(rows):
            whole.paste(line[column].resize((width, height)), (column * width, 16 + row * height))
    return whole


def report(
    make: Maker, folder: Path, number: int = UNSEEN, dresses: Sequence[str] = DRESSES
) -> dict[str, dict[str, tuple[float, float]]]:
    """Dress unseen garments, write ``scores.json`` and ``images.png`` into ``folder``, and return the scores.

    make: of people and what each wears, or None for nothing, the images. dresses: which of ``DRESSES`` to try.
    """
    people = [data.drawn(one, "unseen") for one in range(number)]
    clothes = [one.shirt for one in people]
    wear = dict(zip(DRESSES, (clothes, [*clothes[1:], clothes[0]], None), strict=True))
    made = {dress: make(people, wear[dress]) for dress in dresses}
    scores = {
        name: summary([score(*one) for one in zip(found, people, clothes, strict=True)]) for name, found in made.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    width = made[dresses[0]][0].width
    rows = [
        [drawing.garment_image(cloth, width), *images]
        for cloth, *images in list(zip(clothes, *made.values(), strict=True))[:SHOWN]
    ]
    sheet(rows, ["garment", *made]).save(folder / "images.png")
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="the packed weights")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=data.WIDTH)
    arguments = parser.parse_args()
    models = load(unpacked(arguments.weights))
    scores = report(lambda people, clothes: make(models, people, clothes, width=arguments.width), arguments.folder)
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
