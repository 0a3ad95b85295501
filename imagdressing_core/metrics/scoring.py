"""The scorers: each turns a garment and a generated image into one or several terms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy

from ..errors import IMAGDressingError
from .images import ImageArray, Mask, checked_mask
from .outcome import NoScore, Outcome, attempt, checked
from .paper import CAMI_U_TERMS, CamiProtocol, Column
from .weights import BERT_TOKENIZER, CLIP, FACE, IMAGE_REWARD, STABLE_DIFFUSION, Weights


@dataclass(frozen=True)
class PairContent:
    """A generated image and the inputs it was made from; poses are drawn on black, a mask is True on the garment.

    Attributes:
        problems: By name, the reasons why parts that were given cannot be used.
    """

    generated: ImageArray | None = None
    garment: ImageArray | None = None
    generated_mask: Mask | None = None
    garment_mask: Mask | None = None
    pose: ImageArray | None = None
    generated_pose: ImageArray | None = None
    face: ImageArray | None = None
    prompt: str | None = None
    problems: Mapping[str, NoScore] = field(default_factory=dict)


Scores: TypeAlias = dict[str, Outcome]
Score: TypeAlias = Callable[..., list[Scores]]
"""Called with a list for each part of the scorer, by name; returns the terms of each pair, yet unchecked."""


@dataclass(frozen=True)
class Scorer:
    """A way to compute one or several terms.

    Attributes:
        name: Its name in the command's options.
        terms: The terms that it computes.
        needs: The parts of a pair without which there is no score.
        load: Takes the paths of the weights, the device and the protocol; returns the function that scores.
        takes: The parts that it uses if they are given.
        weights: The published weights that it needs, in the order of the paths that ``load`` takes.
        lower_is_better: Whether its terms are distances.
        digits: Of its terms, as printed.
        version: Raise it whenever an own scorer computes its terms in another way: kept scores are then left alone.
    """

    name: str
    terms: tuple[str, ...]
    needs: tuple[str, ...]
    load: Callable[[Sequence[str], str, CamiProtocol], Score]
    takes: tuple[str, ...] = ()
    weights: tuple[Weights, ...] = ()
    lower_is_better: bool = False
    digits: int = 3
    version: str = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its single terms."""
        is_masked = bool(self.takes)
        return tuple(Column(term, (term,), not self.lower_is_better, self.digits, is_masked) for term in self.terms)

    @property
    def parts(self) -> tuple[str, ...]:
        return self.needs + self.takes

    def parts_of(self, pair: PairContent) -> dict[str, Any]:
        """Return the parts of a pair by name.

        Raises:
            NoScore: a part cannot be read or is needed and not given, or a mask is empty or does not fit its image.
        """
        for name in self.parts:
            if name in pair.problems:
                raise pair.problems[name]
        found = {name: getattr(pair, name) for name in self.parts}
        for name in self.needs:
            if found[name] is None:
                raise NoScore(f"no {name.replace('_', ' ')} given")
        for name, of in (("garment", "garment"), ("generated", "generated image")):
            image, mask = found.get(name), found.get(f"{name}_mask")
            if image is not None and mask is not None:
                checked_mask(image, mask, of)
        return found


def score(pairs: Sequence[PairContent], scorer: Scorer, loaded: Score) -> list[Scores]:
    """Return the scorer's terms of each pair, each a score or the reason why there is none.

    Args:
        loaded: The function that ``scorer.load`` returned; it gets only the pairs that can be scored.

    Raises:
        IMAGDressingError: ``loaded`` gave too few or too many results, or other terms than the scorer's.
    """
    given = [attempt(scorer.parts_of, pair) for pair in pairs]
    usable = [one for one in given if not isinstance(one, NoScore)]
    scored = loaded(**{name: [one[name] for one in usable] for name in scorer.parts}) if usable else []
    if len(scored) != len(usable):
        raise IMAGDressingError(f"The score {scorer.name} gave {len(scored)} results for {len(usable)} pairs.")
    wrong = next((one for one in scored if set(one) != set(scorer.terms)), None)
    if wrong is not None:
        terms = ", ".join(scorer.terms)
        raise IMAGDressingError(f"The score {scorer.name} gave the terms {', '.join(wrong)} in place of {terms}.")
    rest = iter(scored)
    found = [dict.fromkeys(scorer.terms, one) if isinstance(one, NoScore) else next(rest) for one in given]
    return [{term: checked(outcome) for term, outcome in terms.items()} for terms in found]


def _load_cami_u(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    from .cami import cami_u_terms

    return lambda garment, generated, garment_mask, generated_mask: [
        cami_u_terms(*pair, protocol) for pair in zip(garment, generated, garment_mask, generated_mask, strict=True)
    ]


def _load_pose(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    from .cami import pose as pose_overlap

    return lambda pose, generated_pose: [
        {"pose": attempt(pose_overlap, *pair, protocol)} for pair in zip(pose, generated_pose, strict=True)
    ]


def _load_face(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    from .face import load_faces

    embed = load_faces(weights[0], device)
    return lambda face, generated: [
        {"face": face_similarity(*map(embed, pair))} for pair in zip(face, generated, strict=True)
    ]


def face_similarity(asked: numpy.ndarray | None, found: numpy.ndarray | None) -> Outcome:
    """Return S_f, −1 … 1: the cosine of two faces' normed embeddings (512,); None stands for an image without a face.

    Source: ``calculate_face_similarity`` in the official ``metric/eval_s.py``.
    """
    if asked is None:
        return NoScore("no face in the image of the face asked for")
    if found is None:
        return NoScore("no face in the generated image")
    return checked(float(numpy.dot(asked, found)))


def _load_text(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    from .clip_text import load_clip_text

    cosines = load_clip_text(weights[0], device)
    return lambda prompt, generated: [{"text": value} for value in cosines(prompt, generated)]


def _load_image_reward(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    from .image_reward import load_image_reward

    rewards = load_image_reward(weights[0], device, tokenizer=weights[1])
    return lambda prompt, generated: [{"image_reward": value} for value in rewards(prompt, generated)]


def _load_mp_lpips(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    from .mp_lpips import MPLPIPS

    distance = MPLPIPS.load(weights[0], device).score
    return lambda garment, garment_mask, generated, generated_mask: [
        {"mp_lpips": attempt(distance, *pair)}
        for pair in zip(garment, garment_mask, generated, generated_mask, strict=True)
    ]


MASKS = ("garment_mask", "generated_mask")
SCORERS = (
    Scorer("cami-u", CAMI_U_TERMS, ("garment", "generated"), _load_cami_u, takes=MASKS),
    Scorer("pose", ("pose",), ("pose", "generated_pose"), _load_pose),
    Scorer("face", ("face",), ("face", "generated"), _load_face, weights=(FACE,)),
    Scorer("text", ("text",), ("prompt", "generated"), _load_text, weights=(CLIP,)),
    Scorer(
        "image-reward",
        ("image_reward",),
        ("prompt", "generated"),
        _load_image_reward,
        weights=(IMAGE_REWARD, BERT_TOKENIZER),
    ),
    Scorer(
        "mp-lpips",
        ("mp_lpips",),
        ("garment", "garment_mask", "generated", "generated_mask"),
        _load_mp_lpips,
        weights=(STABLE_DIFFUSION,),
        lower_is_better=True,
        digits=4,
    ),
)
