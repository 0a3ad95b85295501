"""The scores of a few images for the eye: as text and as an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from .images import ImageArray
from .outcome import NoScore, Outcome, total
from .paper import Column
from .scoring import Scores

THUMBNAIL, MARGIN, LINE = (160, 200), 16, 25
TEXT_WIDTH, NAME_WIDTH, LONGEST_REASON = 390, 104, 34


@dataclass(frozen=True)
class ScoredImage:
    """A generated image beside its garment, with its scores."""

    garment: ImageArray
    generated: ImageArray
    scores: Scores

    def lines(self, columns: Sequence[Column]) -> list[tuple[str, Outcome]]:
        """Return the terms, then the sums that have all their terms."""
        sums = [column for column in columns if self.scores.keys() >= set(column.terms)]
        return [*self.scores.items(), *((column.name, total(self.scores, column.terms)) for column in sums)]


def score_text(images: Sequence[ScoredImage], columns: Sequence[Column]) -> str:
    """Return a Markdown table: a row for each image, a column for each term and sum; then the reasons for gaps."""
    lines = [image.lines(columns) for image in images]
    names = [name for name, _ in lines[0]]
    rows = [["image", *names], ["---"] * (len(names) + 1)]
    rows += [[str(i + 1), *(_number(outcome) for _, outcome in one)] for i, one in enumerate(lines)]
    outcomes = [pair for image in images for pair in image.scores.items()]
    reasons = dict.fromkeys(f"{name}: {outcome}" for name, outcome in outcomes if isinstance(outcome, NoScore))
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), *([""] if reasons else []), *reasons])


def score_sheet(images: Sequence[ScoredImage], columns: Sequence[Column]) -> Image.Image:
    """Return one image: for each pair the garment, the generated image, and each term and sum."""
    lines = [image.lines(columns) for image in images]
    height = MARGIN + max(THUMBNAIL[1], LINE * max(map(len, lines))) + MARGIN
    left = 2 * THUMBNAIL[0] + 3 * MARGIN
    sheet = Image.new("RGB", (left + TEXT_WIDTH, height * len(images)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for i, (image, one) in enumerate(zip(images, lines, strict=True)):
        top = i * height + MARGIN
        for place, shown in enumerate((image.garment, image.generated)):
            thumbnail = ImageOps.pad(Image.fromarray(shown), THUMBNAIL, color="#e6e9f0")
            sheet.paste(thumbnail, (MARGIN + place * (THUMBNAIL[0] + MARGIN), top))
        for row, (name, outcome) in enumerate(one):
            text = outcome.reason[:LONGEST_REASON] if isinstance(outcome, NoScore) else _number(outcome)
            draw.text((left, top + row * LINE), name, "#1d2433", font)
            draw.text((left + NAME_WIDTH, top + row * LINE), text, "#1d2433", font)
    return sheet


def _number(outcome: Outcome) -> str:
    return "–" if isinstance(outcome, NoScore) else f"{outcome:.3f}"
