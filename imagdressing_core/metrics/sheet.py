"""The scores of a few images for the eye: as text and as an image."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from .images import ImageArray
from .outcome import NoScore, Outcome, total
from .paper import COLUMNS
from .scoring import Scores

THUMBNAIL, MARGIN, LINE = (160, 200), 16, 25
TEXT_WIDTH, NAME_WIDTH, LONGEST_REASON = 390, 104, 34


def score_text(scores: Sequence[Scores]) -> str:
    """Return a Markdown table: a row for each image, a column for each term and sum; then the reasons for gaps."""
    lines = [_with_sums(one) for one in scores]
    rows = [["image", *lines[0]], ["---"] * (len(lines[0]) + 1)]
    rows += [[str(i + 1), *map(_number, one.values())] for i, one in enumerate(lines)]
    outcomes = [pair for one in scores for pair in one.items()]
    reasons = dict.fromkeys(f"{name}: {outcome}" for name, outcome in outcomes if isinstance(outcome, NoScore))
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), *([""] if reasons else []), *reasons])


def score_sheet(
    garments: Sequence[ImageArray], generated: Sequence[ImageArray], scores: Sequence[Scores]
) -> Image.Image:
    """Return one image: for each pair the garment, the generated image, and each term and sum."""
    lines = [_with_sums(one) for one in scores]
    height = MARGIN + max(THUMBNAIL[1], LINE * max(map(len, lines))) + MARGIN
    left = 2 * THUMBNAIL[0] + 3 * MARGIN
    sheet = Image.new("RGB", (left + TEXT_WIDTH, height * len(lines)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for i, (*images, one) in enumerate(zip(garments, generated, lines, strict=True)):
        top = i * height + MARGIN
        for place, shown in enumerate(images):
            thumbnail = ImageOps.pad(Image.fromarray(shown), THUMBNAIL, color="#e6e9f0")
            sheet.paste(thumbnail, (MARGIN + place * (THUMBNAIL[0] + MARGIN), top))
        for row, (name, outcome) in enumerate(one.items()):
            text = outcome.reason[:LONGEST_REASON] if isinstance(outcome, NoScore) else _number(outcome)
            draw.text((left, top + row * LINE), name, "#1d2433", font)
            draw.text((left + NAME_WIDTH, top + row * LINE), text, "#1d2433", font)
    return sheet


def _with_sums(scores: Scores) -> Scores:
    """Return the terms, then those of the paper's columns that have all their terms."""
    sums = [column for column in COLUMNS if scores.keys() >= set(column.terms)]
    return scores | {column.name: total(scores, column.terms) for column in sums}


def _number(outcome: Outcome) -> str:
    return "–" if isinstance(outcome, NoScore) else f"{outcome:.3f}"
