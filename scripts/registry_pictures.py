"""The pack's icon and banner in the Comfy registry: a garment goes into a node, and a dressed person comes out.

Run as a script it draws them into ``docs``. The registry wants the icon square, 400 pixels at most, the banner 21:9.
"""

import sample_pictures as sample
from PIL import Image, ImageDraw, ImageFont, ImageOps
from support.comfyui_release import REPOSITORY

FOLDER = REPOSITORY / "docs"
ICON_SIDE = 400
BANNER_SIZE = (1680, 720)
SMOOTH = 3  # drawn this much larger, then reduced
GROUND, NODE, TITLE, TEXT = "#17191e", "#353a45", "#454c5a", "#f3e9d2"
LINK, SOCKET = "#edae49", "#d1495b"
PAPER = "#e9e9e6"  # that the shirt lies on

Box = tuple[int, int, int, int]


def icon() -> Image.Image:
    """Return the garment in a node whose output leaves to the right."""
    side = ICON_SIDE * SMOOTH
    picture = Image.new("RGB", (side, side), GROUND)
    box = _scaled(52, 40, 348, 360)
    _link(picture, (box[2], _middle(box)), (side, _middle(box) + 60 * SMOOTH))
    _node(picture, box, _shirt(), sockets=(True, True))
    return picture.resize((ICON_SIDE, ICON_SIDE), Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    """Return garment and person, each in a node, and the pack's name between them."""
    picture = Image.new("RGB", (BANNER_SIZE[0] * SMOOTH, BANNER_SIZE[1] * SMOOTH), GROUND)
    garment, person = _scaled(90, 70, 530, 570), _scaled(1150, 150, 1590, 650)
    _link(picture, (garment[2], _middle(garment)), (person[0], _middle(person)))
    _node(picture, garment, _shirt(), sockets=(False, True))
    _node(picture, person, _dressed_person(), sockets=(True, False))
    _words(picture, "IMAGDressing", 78, 240)
    _words(picture, "for ComfyUI", 44, 490)
    return picture.resize(BANNER_SIZE, Image.Resampling.LANCZOS)


def _shirt() -> Image.Image:
    return ImageOps.pad(sample.striped_shirt().crop((0, 60, 768, 910)), (850, 850), color=PAPER)


def _dressed_person() -> Image.Image:
    cloth = sample.striped_cloth(sample.FIGURE_SIZE)
    sample.emblem(ImageDraw.Draw(cloth), (256, 232), 30)
    return sample.dressed_person(cloth).crop((96, 24, 416, 384))


def _node(picture: Image.Image, box: Box, content: Image.Image, sockets: tuple[bool, bool]) -> None:
    """Draw a node as the editor does, ``content`` below its title. sockets: whether it has an input, an output."""
    left, top, right, bottom = box
    draw = ImageDraw.Draw(picture)
    unit = (right - left) // 20
    draw.rounded_rectangle(box, 2 * unit, fill=NODE)
    draw.rounded_rectangle((left, top, right, top + 3 * unit), 2 * unit, fill=TITLE, corners=(True, True, False, False))
    inside = (left + unit, top + 4 * unit, right - unit, bottom - unit)
    size = inside[2] - inside[0], inside[3] - inside[1]
    rounded = Image.new("L", size)
    ImageDraw.Draw(rounded).rounded_rectangle((0, 0, *size), unit, fill=255)
    picture.paste(ImageOps.fit(content, size, Image.Resampling.LANCZOS), inside[:2], rounded)
    for x, wanted in zip((left, right), sockets, strict=True):
        if wanted:
            y, radius = _middle(box), round(0.9 * unit)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=SOCKET, outline=TEXT, width=unit // 5)


def _link(picture: Image.Image, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Draw the editor's curve from an output to an input: a cubic Bézier that leaves and arrives level."""
    bend = (end[0] - start[0]) / 2
    controls = (start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end)
    radius = 5 * SMOOTH
    for i in range(1001):
        t = i / 1000
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        x, y = (sum(w * point[axis] for w, point in zip(weights, controls, strict=True)) for axis in (0, 1))
        ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=LINK)


def _words(picture: Image.Image, words: str, size: int, top: int) -> None:
    font = ImageFont.load_default(size * SMOOTH)
    ImageDraw.Draw(picture).text((picture.width // 2, top * SMOOTH), words, fill=TEXT, font=font, anchor="mm")


def _middle(box: Box) -> int:
    return (box[1] + box[3]) // 2


def _scaled(left: int, top: int, right: int, bottom: int) -> Box:
    return left * SMOOTH, top * SMOOTH, right * SMOOTH, bottom * SMOOTH


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    icon().save(FOLDER / "icon.png", optimize=True)
    banner().save(FOLDER / "banner.png", optimize=True)
