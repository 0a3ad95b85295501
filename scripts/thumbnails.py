"""The workflows' thumbnails in the editor's template browser: drawings of what each is for, not results of a model.

Run as a script it draws them beside the workflows.
"""

from collections.abc import Callable

import sample_pictures as sample
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from support.comfyui_release import REPOSITORY

FOLDER = REPOSITORY / "workflows"
SIDE = 512
CARD = (150, 188)  # a picture that goes in, beside the one that comes out
MARGIN = 24
GROUND = "#23262d"
ARROW = "#f4d35e"

STRIPED = sample.striped_cloth(sample.FIGURE_SIZE)
sample.emblem(ImageDraw.Draw(STRIPED), (256, 232), 30)
CHECKED = sample.checked_cloth(sample.FIGURE_SIZE)


def garment_to_person() -> Image.Image:
    return _becomes([sample.striped_shirt()], _in_shirt())


def pose() -> Image.Image:
    return _becomes([sample.striped_shirt(), sample.pose()], _posed(_in_shirt()))


def face_and_pose() -> Image.Image:
    return _becomes([sample.striped_shirt(), sample.face(), sample.pose()], _posed(_in_shirt()))


def try_on() -> Image.Image:
    """The given person on the left half, the dressed one on the right."""
    before, after = (_square(picture) for picture in (sample.dressed_person(), _in_shirt()))
    before.paste(after.crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
    ImageDraw.Draw(before).line((SIDE // 2, 0, SIDE // 2, SIDE), fill="white", width=4)
    return before


def style() -> Image.Image:
    picture = _in_shirt()
    edges = picture.convert("L").filter(ImageFilter.FIND_EDGES).point([0 if v > 40 else 255 for v in range(256)])
    cartoon = ImageChops.multiply(ImageOps.posterize(picture, 3), Image.merge("RGB", [edges] * 3))
    return _becomes([sample.striped_shirt()], cartoon)


def outfit() -> Image.Image:
    return _becomes([sample.striped_shirt(), sample.checked_trousers()], sample.dressed_person(STRIPED, CHECKED))


def wardrobe() -> Image.Image:
    """One picture of the batch in each garment."""
    picture = Image.new("RGB", (SIDE, SIDE), GROUND)
    halves = [_in_shirt(), sample.dressed_person(legs=CHECKED)]
    for i, half in enumerate(halves):
        picture.paste(ImageOps.fit(half, (SIDE // 2 - 2, SIDE)), (i * (SIDE // 2 + 2), 0))
    return picture


def wardrobe_fill() -> Image.Image:
    """The garments on a rail."""
    picture = Image.new("RGB", (SIDE, SIDE), GROUND)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((MARGIN, 60, SIDE - MARGIN, 72), 6, fill="#9aa7ad")
    for i, garment in enumerate([sample.striped_shirt(), sample.checked_trousers()]):
        card = ImageOps.fit(garment, (210, 280))
        left = 36 + i * 230
        draw.arc((left + 90, 52, left + 120, 92), 180, 450, fill="#9aa7ad", width=5)
        draw.line((left + 105, 92, left + 105, 130), fill="#9aa7ad", width=5)
        picture.paste(card, (left, 130))
    return picture


def high_resolution() -> Image.Image:
    """The small picture within the large one."""
    large = _in_shirt().resize((1024, 1280), Image.Resampling.LANCZOS)
    picture = large.crop((256, 60, 768, 572))
    small = ImageOps.expand(_in_shirt().resize((140, 175)), 4, "white")
    picture.paste(small, (MARGIN, SIDE - small.height - MARGIN))
    return picture


def _in_shirt() -> Image.Image:
    return sample.dressed_person(STRIPED)


def _posed(person: Image.Image) -> Image.Image:
    return ImageChops.screen(person, sample.pose())


def _square(picture: Image.Image) -> Image.Image:
    return ImageOps.fit(picture, (SIDE, SIDE), centering=(0.5, 0.3))


def _becomes(given: list[Image.Image], result: Image.Image) -> Image.Image:
    """Return a picture of the given cards in a column on the left and the result on the right, an arrow between."""
    picture = Image.new("RGB", (SIDE, SIDE), GROUND)
    height = min(CARD[1], (SIDE - MARGIN * (len(given) + 1)) // len(given))
    width = round(height * CARD[0] / CARD[1])
    gap = (SIDE - height * len(given)) // (len(given) + 1)
    for i, one in enumerate(given):
        left = MARGIN + (CARD[0] - width) // 2
        picture.paste(ImageOps.fit(one, (width, height), centering=(0.5, 0.2)), (left, gap + i * (height + gap)))
    middle, tip = SIDE // 2, MARGIN + CARD[0] + 44
    ImageDraw.Draw(picture).polygon([(tip - 24, middle - 20), (tip - 24, middle + 20), (tip, middle)], fill=ARROW)
    large = ImageOps.fit(result, (SIDE - tip - 2 * MARGIN + 8, SIDE - 2 * MARGIN), centering=(0.5, 0.3))
    picture.paste(large, (tip + MARGIN - 8, MARGIN))
    return picture


THUMBNAILS: dict[str, Callable[[], Image.Image]] = {
    draw.__name__: draw
    for draw in (
        *(garment_to_person, pose, face_and_pose, try_on, style),
        *(outfit, wardrobe, wardrobe_fill, high_resolution),
    )
} | {"outfit_subgraph": outfit}


if __name__ == "__main__":
    for name, draw in THUMBNAILS.items():
        draw().save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
