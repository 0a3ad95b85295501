"""What the paper and its official code say about scores, as data with the source.

The columns of the result table and the terms they are sums of; the numbers of Tables 2 and 3; and the two modes of
computing CAMI: as the official code does (``published``), or with its mistakes corrected (``corrected``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["published", "corrected"]


@dataclass(frozen=True)
class Column:
    """A column of the result table.

    Attributes:
        terms: The terms that it is the sum of.
        higher_is_better: The direction of its arrow.
        digits: Behind the point, as printed.
        masked: Whether its scores depend on the masks, if there are any.
    """

    name: str
    terms: tuple[str, ...]
    higher_is_better: bool = True
    digits: int = 3
    masked: bool = False

    @property
    def heading(self) -> str:
        return f"{self.name} {'↑' if self.higher_is_better else '↓'}"


CAMI_U_TERMS = ("structure", "texture", "keypoints")
CAMI_S_TERMS = (*CAMI_U_TERMS, "pose", "face", "text")

# Table 2 of arXiv 2407.12705v2, in its order.
COLUMNS = (
    Column("ImageReward", ("image_reward",)),
    Column("MP-LPIPS", ("mp_lpips",), higher_is_better=False, digits=4),
    Column("CAMI-U", CAMI_U_TERMS, masked=True),  # equation 1
    Column("CAMI-S", CAMI_S_TERMS, masked=True),  # equation 2
)
TERMS = tuple(dict.fromkeys(term for column in COLUMNS for term in column.terms))

PAPER = "arXiv 2407.12705v2"
NO_CAMI_S = "the paper leaves it empty: “incompatible with several plugins”"


@dataclass(frozen=True)
class PaperRow:
    """A method's row in a table of the paper: its values by column, without those that the paper leaves empty."""

    table: str
    method: str
    values: Mapping[str, float]

    @property
    def gaps(self) -> dict[str, str]:
        """The reasons for the empty columns."""
        return {column.name: NO_CAMI_S for column in COLUMNS if column.name not in self.values}


def _row(table: str, method: str, *values: float | None) -> PaperRow:
    """Return a row from the values in the order of ``COLUMNS``; None is an empty cell."""
    cells = zip(COLUMNS, values, strict=True)
    return PaperRow(table, method, {column.name: value for column, value in cells if value is not None})


BASELINES, ABLATION = "Table 2", "Table 3"

PAPER_ROWS = (
    _row(BASELINES, "BLIP-Diffusion", -2.224, 0.1824, 1.051, None),
    _row(BASELINES, "Versatile Diffusion", -2.055, 0.4321, 1.253, None),
    _row(BASELINES, "IP-Adapter", -2.267, 0.4093, 1.381, None),
    _row(BASELINES, "MagicClothing", -0.164, 0.1499, 1.655, 2.692),
    _row(BASELINES, "IMAGDressing-v1", -0.095, 0.1466, 1.753, 2.719),
    _row(ABLATION, "A0 base", -0.245, 0.1537, 1.575, 2.578),
    _row(ABLATION, "A1 base + IEB", -0.178, 0.1504, 1.637, 2.625),
    _row(ABLATION, "A2 base + IEB + HA", -0.095, 0.1466, 1.753, 2.719),
)


@dataclass(frozen=True)
class Correction:
    """One difference from the official code, in the terms that it concerns."""

    term: str
    official: str
    corrected: str
    reason: str


@dataclass(frozen=True)
class CamiProtocol:
    """How CAMI is computed: for each entry of :data:`CORRECTIONS`, whether it applies.

    A mode has all of them or none. Each is a field of its own so that a test can show what it alone changes.
    """

    garments_aligned: bool
    resized_by_area: bool
    one_height: bool
    all_texture_codes: bool
    corners_once: bool
    corners_at_one_scale: bool
    any_number_of_corners: bool
    corners_both_ways: bool
    own_diagonal: bool
    pose_without_overflow: bool
    pose_found: bool


CORRECTIONS = {
    "garments_aligned": Correction(
        "structure, texture, keypoints",
        "The whole photograph is compared with the whole generated image, black outside the garment's mask.",
        "Both are cut to the box of their garment's mask and are black outside it; only pixels of a garment count.",
        "A garment that fills its photograph was compared with one somewhere on a body: white paper against black.",
    ),
    "resized_by_area": Correction(
        "structure, texture",
        "The photograph is reduced to the generated size bilinearly, without smoothing.",
        "It is reduced by averaging areas.",
        "Without smoothing, fine weaves and prints alias into a texture that the garment does not have.",
    ),
    "one_height": Correction(
        "structure, texture, keypoints",
        "The images are compared at the generated size.",
        "Both garments are compared at a height of 192 pixels.",
        "The windows of SSIM, patterns and corners are a few pixels wide, so the same image at another size scored "
        "otherwise. The methods of the paper's table generate two sizes.",
    ),
    "all_texture_codes": Correction(
        "texture",
        "The histogram has the bins 0 to 64 (P² of P = 8 neighbours).",
        "It has all 256 codes (2ᴾ).",
        "Three of four codes were dropped, 255 (flat cloth) among them: most pixels. A black image gave NaN.",
    ),
    "corners_once": Correction(
        "keypoints",
        "The corner response is dilated, and every pixel over 1 % of its maximum is a keypoint.",
        "Only the maxima of the response over 1 % of its largest are.",
        "Dilation triples the points: each corner counts as often as it is wide.",
    ),
    "corners_at_one_scale": Correction(
        "keypoints",
        "Corners of the garment are found at the photograph's own size, those of the generated one at its size.",
        "Both are found in images of one size.",
        "Coordinates of two scales were subtracted: a perfect copy at another size scored less than 1.",
    ),
    "any_number_of_corners": Correction(
        "keypoints",
        "No generated corner, or more than 5000, is a constant distance of 0.99.",
        "Any number is matched. None on one side is the largest distance, 1; none on either side is 0.",
        "Detailed prints were punished as if no corner matched.",
    ),
    "corners_both_ways": Correction(
        "keypoints",
        "The distance is from each corner of the garment to the nearest generated one.",
        "It is the mean of that and the way back.",
        "Corners that are generated but not on the garment cost nothing.",
    ),
    "own_diagonal": Correction(
        "keypoints",
        "Distances are divided by 512·√2 whatever the size.",
        "They are divided by the diagonal of the compared image.",
        "The same distance counted more in a larger image.",
    ),
    "pose_without_overflow": Correction(
        "pose",
        "Channels are added, and the two drawings multiplied, in 8 bits.",
        "A pixel is drawn if any channel is.",
        "Sums and products that are a multiple of 256 vanished.",
    ),
    "pose_found": Correction(
        "pose",
        "A generated image in which no pose was found scores 0.",
        "It has no score; it is counted and named.",
        "Nobody in the image, and nobody found by the detector, are told apart by looking, not by a number.",
    ),
}

# Where the official code cannot run or scores without looking; the same in both modes.
REPAIRS = (
    Correction(
        "structure, texture, keypoints",
        "eval.py joins the folder of generated images with the garment's whole path: with an absolute one it "
        "compares the garment with itself, with a relative one it finds nothing and scores 0; and it hands an array to "
        "a function that reads files.",
        "Each garment is compared with its generated image.",
        "eval.py cannot have made the paper's numbers as it was published.",
    ),
    Correction(
        "pose",
        "eval_s.py unpacks two values from a pose detector that returns one.",
        "The pose of the generated image is given as a drawing.",
        "It crashes; any detector's drawing will do, as long as it drew both.",
    ),
    Correction(
        "face",
        "The first face of an image is taken; an image without one crashes.",
        "The largest is taken; an image without one has no score.",
        "A passer-by must not stand for the person.",
    ),
    Correction(
        "text",
        "The prompts of the command line are split into characters.",
        "Each image has its prompt.",
        "The similarity was to single letters.",
    ),
    Correction(
        "all",
        "A missing image scores 0 in eval.py and crashes eval_s.py.",
        "It has no score; it is counted and named.",
        "A mean over zeros for images nobody made says nothing.",
    ),
)

PROTOCOLS: dict[Mode, CamiProtocol] = {
    "published": CamiProtocol(**dict.fromkeys(CORRECTIONS, False)),
    "corrected": CamiProtocol(**dict.fromkeys(CORRECTIONS, True)),
}
