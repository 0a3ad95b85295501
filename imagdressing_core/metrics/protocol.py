"""The two ways to compute CAMI: as the official code does, and with what is wrong in it corrected."""

from dataclasses import dataclass, fields
from typing import Literal

Mode = Literal["published", "corrected"]


@dataclass(frozen=True)
class Correction:
    """One difference between the modes: what the official code does, what is done instead, and why."""

    term: str
    published: str
    corrected: str
    reason: str


@dataclass(frozen=True)
class Protocol:
    """How CAMI is computed: for each entry of :data:`CORRECTIONS`, whether it applies."""

    garments_aligned: bool
    resized_by_area: bool
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
        "The whole photograph is compared with the whole generated picture, black outside the garment's mask.",
        "Both are cut to the box of their garment's mask and are black outside it; only pixels of a garment count.",
        "A garment that fills its photograph was compared with one somewhere on a body: white paper against black.",
    ),
    "resized_by_area": Correction(
        "structure, texture",
        "The photograph is reduced to the generated size bilinearly, without smoothing.",
        "It is reduced by averaging areas.",
        "Without smoothing, fine weaves and prints alias into a texture that the garment does not have.",
    ),
    "all_texture_codes": Correction(
        "texture",
        "The histogram has the bins 0 to 64 (P² of P = 8 neighbours).",
        "It has all 256 codes (2ᴾ).",
        "Three of four codes were dropped, 255 (flat cloth) among them: most pixels. A black picture gave NaN.",
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
        "Both are found in pictures of one size.",
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
        "They are divided by the diagonal of the compared picture.",
        "The score depended on the resolution.",
    ),
    "pose_without_overflow": Correction(
        "pose",
        "Channels are added, and the two drawings multiplied, in 8 bits.",
        "A pixel is drawn if any channel is.",
        "Sums and products that are a multiple of 256 vanished.",
    ),
    "pose_found": Correction(
        "pose",
        "A generated picture in which no pose was found scores 0.",
        "It has no score; it is counted and named.",
        "Nobody in the picture, and nobody found by the detector, are told apart by looking, not by a number.",
    ),
}

# Where the official code cannot run or scores without looking; the same in both modes.
REPAIRS = (
    Correction(
        "structure, texture, keypoints",
        "eval.py joins the folder of generated pictures with the garment's whole path: with an absolute one it "
        "compares the garment with itself, with a relative one it finds nothing and scores 0; and it hands an array to "
        "a function that reads files.",
        "Each garment is compared with its generated picture.",
        "eval.py cannot have made the paper's numbers as it was published.",
    ),
    Correction(
        "pose",
        "eval_s.py unpacks two values from a pose detector that returns one.",
        "The pose of the generated picture is given as a drawing.",
        "It crashes; any detector's drawing will do, as long as it drew both.",
    ),
    Correction(
        "face",
        "The first face of a picture is taken; a picture without one crashes.",
        "The largest is taken; a picture without one has no score.",
        "A passer-by must not stand for the person.",
    ),
    Correction(
        "text",
        "The prompts of the command line are split into characters.",
        "Each picture has its prompt.",
        "The similarity was to single letters.",
    ),
    Correction(
        "all",
        "A missing picture scores 0 in eval.py and crashes eval_s.py.",
        "It has no score; it is counted and named.",
        "A mean over zeros for pictures nobody made says nothing.",
    ),
)

_NAMES = [field.name for field in fields(Protocol)]
PROTOCOLS: dict[Mode, Protocol] = {
    "published": Protocol(**dict.fromkeys(_NAMES, False)),
    "corrected": Protocol(**dict.fromkeys(_NAMES, True)),
}
