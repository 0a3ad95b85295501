"""Scores of a few images for the eye: as text and as a table image."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from .images import ImageArray
from .outcome import NoScore, Outcome, total
from .paper import Column
from .scoring import Scores

PAPER, INK, FAINT, TRACK, BAR = "#ffffff", "#1d2433", "#7a8395", "#e6e9f0", "#3f6fd8"
THUMBNAIL = (160, 200)
LINE, MARGIN, FONT_SIZE = 25, 16, 15
NAME, BARS, NUMBER = 104, 170, 70  # widths
WIDTH = 2 * THUMBNAIL[0] + NAME + BARS + NUMBER + 5 * MARGIN
LONGEST_REASON = 34


@dataclass(frozen=True)
class ScoredImage:
    """A generated image beside its garment, with its scores."""

    garment: ImageArray
    generated: ImageArray
    scores: Scores


def score_lines(scores: Scores, columns: Sequence[Column]) -> list[tuple[str, Outcome]]:
    """Return what is written of one image, top down: its terms, then the sums that have all their terms."""
    sums = [(column.name, total(scores, column.terms)) for column in columns if scores.keys() >= set(column.terms)]
    return [*scores.items(), *sums]


def score_text(images: Sequence[ScoredImage], columns: Sequence[Column]) -> str:
    """Return a Markdown table: a row for each image, a column for each term and sum; then the reasons for gaps."""
    lines = [score_lines(image.scores, columns) for image in images]
    names = [name for name, _ in lines[0]]
    rows = [["image", *names], ["---"] * (len(names) + 1)]
    rows += [[str(i + 1), *(_number(outcome) for _, outcome in one)] for i, one in enumerate(lines)]
    reasons = {
        f"{name}: {outcome}": None
        for image in images
        for name, outcome in image.scores.items()
        if isinstance(outcome, NoScore)
    }
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), *([""] if reasons else []), *reasons])


def score_sheet(images: Sequence[ScoredImage], columns: Sequence[Column]) -> Image.Image:
    """Return one image: for each pair garment, generated image, and a bar and number for each term and sum."""
    lines = [score_lines(image.scores, columns) for image in images]
    height = MARGIN + max(THUMBNAIL[1], LINE * max(map(len, lines))) + MARGIN
    sheet = Image.new("RGB", (WIDTH, height * len(images)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (image, one) in enumerate(zip(images, lines, strict=True)):
        top = i * height + MARGIN
        for place, shown in enumerate((image.garment, image.generated)):
            thumbnail = ImageOps.pad(Image.fromarray(shown), THUMBNAIL, color=TRACK)
            sheet.paste(thumbnail, (MARGIN + place * (THUMBNAIL[0] + MARGIN), top))
        for row, (name, outcome) in enumerate(one):
            _draw_line(draw, top + row * LINE, name, outcome, is_sum=name not in image.scores)
    return sheet


def _draw_line(draw: ImageDraw.ImageDraw, top: int, name: str, outcome: Outcome, is_sum: bool) -> None:
    font = ImageFont.load_default(FONT_SIZE)
    left = 2 * THUMBNAIL[0] + 3 * MARGIN
    middle = top + LINE // 2
    draw.text((left, middle), name, INK, font, anchor="lm")
    left += NAME
    if isinstance(outcome, NoScore):
        reason = outcome.reason if len(outcome.reason) <= LONGEST_REASON else f"{outcome.reason[:LONGEST_REASON]}…"
        draw.text((left, middle), reason, FAINT, font, anchor="lm")
        return
    if not is_sum:
        box = (left, top + 7, left + BARS, top + LINE - 7)
        draw.rectangle(box, TRACK)
        if outcome > 0:
            draw.rectangle((*box[:2], left + round(BARS * min(outcome, 1)), box[3]), BAR)
    draw.text((WIDTH - MARGIN, middle), _number(outcome), INK, font, anchor="rm")


def _number(outcome: Outcome) -> str:
    return "–" if isinstance(outcome, NoScore) else f"{outcome:.3f}"
