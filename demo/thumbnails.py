"""The templates' thumbnails: what each workflow makes on the small models, beside the images that it starts from.

``python -m demo.thumbnails`` runs them in the real ComfyUI, as shipped but small, and writes a .jpg beside each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from support.comfyui_server import Prompt, serving
from support.shipped_prompts import IMAGES, make_small, shipped_prompt

from . import measure
from .__main__ import SIZE, TEXT, changed, demo_base, run, with_text

WORKFLOWS = IMAGES.parent
STEPS = 10  # half of the demo's: a thumbnail is small
CARD, MARGIN, BACKGROUND = 512, 24, (36, 39, 46)
SHIRT, TROUSERS = "imagdressing_shirt.png", "imagdressing_trousers.png"
POSE, PERSON, WORN = "imagdressing_pose.png", "imagdressing_person.png", "imagdressing_worn.png"
START, POSED, TRIED = "1 Dress a person (start here)", "5 Dress in a pose", "2 Try on a person"


@dataclass(frozen=True)
class Card:
    """A template, the images beside its result, and, where its own models cannot be had here, whose result that is.

    size: of the image that is generated first.
    """

    name: str
    shown: Sequence[str] = (SHIRT,)
    same_as: str = ""
    size: tuple[int, int] = SIZE


# In this order: the wardrobe is filled before it is opened.
CARDS = (
    Card(START),
    Card(TRIED, (SHIRT, PERSON)),
    Card("3 Try on by words (SAM3)", (SHIRT, PERSON), TRIED),
    Card("4 A garment off a worn photo (SAM3)", (WORN,), START),
    Card(POSED, (SHIRT, POSE)),
    Card("6 Pose from a photo (SDPose)", (SHIRT, PERSON), POSED),
    Card("7 An outfit of two garments", (SHIRT, TROUSERS)),
    Card("8 A wardrobe and a lookbook", (SHIRT, TROUSERS)),
    Card("9 Dress from the wardrobe", ()),
    Card("A face and a pose (needs another pack)", (SHIRT, POSE), POSED),
    Card("A larger image in two passes", size=(176, 216)),  # the second pass makes 1.5 times that
    Card("Another style", (SHIRT,), START),
    Card("Cut a garment out (BiRefNet)", (SHIRT,), START),
    Card("Dress a person, node by node", (SHIRT,), START),
    Card("Strengths side by side"),
)


def small(prompt: Prompt, size: tuple[int, int] = SIZE) -> Prompt:
    """Return a workflow for the small models: their size, their words, and the whole photo around a mask."""
    made = changed(make_small(prompt, *size, STEPS), "KSampler", cfg=measure.GUIDANCE)
    made = changed(made, "IMAGDressingEncodeGarment", width=SIZE[0], height=SIZE[1])
    made = changed(made, "IMAGDressingCropToMask", margin=2.0, size=round((SIZE[0] * SIZE[1]) ** 0.5))
    return with_text(made, TEXT)


def one_image(images: Sequence[Image.Image]) -> Image.Image:
    """Return the widest of a workflow's images, which is the sheet where it makes one; equal ones side by side."""
    widest = max(images, key=lambda image: image.width)
    if all(image.size == widest.size for image in images):
        return measure.side_by_side(images)
    return widest


def drawn_card(result: Image.Image, shown: Sequence[Path]) -> Image.Image:
    """Return a square: the images that the workflow starts from in a column, and what it makes."""
    whole = Image.new("RGB", (CARD, CARD), BACKGROUND)
    column = CARD // 3 if shown else 0
    for number, path in enumerate(shown):
        row = CARD // len(shown)
        place = (column - MARGIN, min(row, CARD // 2) - 2 * MARGIN)
        small = ImageOps.contain(white(Image.open(path)), place, Image.Resampling.LANCZOS)
        whole.paste(small, (MARGIN, number * row + (row - small.height) // 2))
    place = (CARD - column - 2 * MARGIN, CARD - 2 * MARGIN)
    large = ImageOps.contain(result, place, Image.Resampling.LANCZOS)
    whole.paste(large, (column + (CARD - column - large.width) // 2, (CARD - large.height) // 2))
    return whole


def white(image: Image.Image) -> Image.Image:
    """Return an image on white where it is transparent."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def main() -> None:
    made: dict[str, Image.Image] = {}
    with serving(base=demo_base(None)) as server:
        for card in CARDS:
            print(f"{card.name} …", flush=True)
            if not card.same_as:
                prompt = small(shipped_prompt(server, WORKFLOWS / f"{card.name}.json"), card.size)
                made[card.name] = one_image(run(server, prompt))
            drawn = drawn_card(made[card.same_as or card.name], [IMAGES / name for name in card.shown])
            drawn.save(WORKFLOWS / f"{card.name}.jpg", quality=88)


if __name__ == "__main__":
    main()
