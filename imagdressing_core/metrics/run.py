"""Scoring many pairs: shared among processes, and resumed where an earlier run stopped."""

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import IMAGDressingError
from .cache import keep_scores, key, read_scores
from .images import read_image, read_mask
from .launch import ALONE, Processes
from .manifest import PairFiles
from .outcome import NoScore
from .paper import PROTOCOLS, Mode
from .provenance import file_digest, text_digest, weights_digest
from .scoring import PairContent, Score, Scorer, Scores, score

if TYPE_CHECKING:  # PyTorch is imported only where a score needs it
    from ..model.garment_unet import Progress

BATCH = 8  # pairs that a process or a model takes at once


@dataclass(frozen=True)
class Setting:
    """The way to score.

    Attributes:
        mode: The way to compute CAMI.
        processes: The number of processes that share the scores without a model.
        device: The device of the models.
        weights: By name, the paths of weights that are not to come from their hub id.
    """

    mode: Mode
    processes: int = 1
    device: str = "cpu"
    weights: Mapping[str, str] = field(default_factory=dict)

    def weights_of(self, scorer: Scorer) -> list[str]:
        return [self.weights.get(one.name, one.hub_id) for one in scorer.weights]


@dataclass(frozen=True)
class Job:
    """One scorer on one pair. index: of the pair; key: of the kept scores, None if they are not kept."""

    scorer: Scorer
    index: int
    files: PairFiles
    key: str | None


def evaluate(
    pairs: Sequence[PairFiles],
    scorers: Sequence[Scorer],
    setting: Setting,
    folder: Path,
    progress: "Progress",
    processes: Processes = ALONE,
) -> tuple[list[Scores], dict[str, str]]:
    """Score all pairs; each process scores its share and gets the scores of all.

    Args:
        folder: Scores are kept here, each as soon as it is computed, and found again by a later run.
        processes: The processes that share the work.

    Returns:
        The scores of all pairs, in order; and everything that they depend on but the images, by name.

    Raises:
        IMAGDressingError: a library or the weights of a scorer are missing, or the processes have different tasks;
            nothing is scored then. Or another process stopped.
    """
    models = _load_all(scorers, setting)
    task = _task(pairs, scorers, setting)
    processes.require_same(task)
    folder.mkdir(parents=True, exist_ok=True)
    kept, digest = read_scores(folder), cache(file_digest)
    jobs = [
        Job(scorer, index, pairs[index], key(scorer, pairs[index], _setting_of(scorer, task), digest))
        for scorer in scorers
        if scorer.terms  # a distance of whole methods has none
        for index in processes.share_of(range(len(pairs)))
    ]
    scores: list[tuple[int, Scores]] = [(job.index, kept[job.key]) for job in jobs if job.key in kept]
    todo = [job for job in jobs if job.key not in kept]
    progress(len(scores), len(jobs))
    with closing(_scored(todo, setting, models)) as scored:
        for job, found in scored:
            if job.key is not None:
                keep_scores(folder, processes.index, job.key, found)
            scores.append((job.index, found))
            progress(len(scores), len(jobs))
    merged: list[Scores] = [{} for _ in pairs]
    for index, found in processes.gathered(scores):
        merged[index] |= found
    terms = [term for scorer in scorers for term in scorer.terms]
    return [{term: found[term] for term in terms} for found in merged], task


def _load_all(scorers: Sequence[Scorer], setting: Setting) -> dict[str, Score]:
    """Load all scorers, and name the problems of all that cannot be loaded at once."""
    models: dict[str, Score] = {}
    problems: list[str] = []
    for scorer in scorers:
        try:
            models[scorer.name] = _load(scorer, setting)
        except IMAGDressingError as error:
            problems.append(str(error))
    if problems:
        raise IMAGDressingError("\n".join(problems))
    return models


def _task(pairs: Sequence[PairFiles], scorers: Sequence[Scorer], setting: Setting) -> dict[str, str]:
    cases = dict.fromkeys(one.case for one in pairs)
    parts = ("garment", "garment_mask", "pose", "face", "person")
    rows = [
        (one.file_name, one.prompt, *(path and path.name for path in (getattr(one, part) for part in parts)))
        for one in cases
    ]
    return {
        "version": __version__,
        "mode": setting.mode,
        "scores": ", ".join(scorer.name for scorer in scorers),
        "methods": ", ".join(dict.fromkeys(one.method.name for one in pairs)),
        "manifest": f"{len(rows)} rows, digest {text_digest(repr(rows))}",
        **{
            f"weights of {one.name}": weights_digest(one, path)
            for scorer in scorers
            for one, path in zip(scorer.weights, setting.weights_of(scorer), strict=True)
        },
    }


def _setting_of(scorer: Scorer, task: Mapping[str, str]) -> str:
    """Return the part of the task that the scores depend on: the mode changes no learned score."""
    return " ".join(task[f"weights of {one.name}"] for one in scorer.weights) or task["mode"]


def _load(scorer: Scorer, setting: Setting) -> Score:
    return scorer.load(setting.weights_of(scorer), setting.device, PROTOCOLS[setting.mode])


def _scored(
    todo: Sequence[Job], setting: Setting, models: Mapping[str, Score]
) -> Generator[tuple[Job, Scores], None, None]:
    """Yield each job with its scores: several processes do those without a model, then this one runs the models."""
    here = todo
    if setting.processes > 1:
        here = [job for job in todo if job.scorer.weights]
        yield from _in_processes([job for job in todo if not job.scorer.weights], setting)
    for batch in _batches(here):
        yield from zip(batch, _score(batch, models[batch[0].scorer.name]), strict=True)


def _in_processes(jobs: Sequence[Job], setting: Setting) -> Iterator[tuple[Job, Scores]]:
    pool = ProcessPoolExecutor(setting.processes, multiprocessing.get_context("spawn"), _one_thread)
    try:
        futures = {pool.submit(_load_and_score, batch, setting): batch for batch in _batches(jobs)}
        for future in as_completed(futures):
            yield from zip(futures[future], future.result(), strict=True)
    except BrokenProcessPool as error:
        raise IMAGDressingError(
            "A process that scores was killed, as a system without free memory does it. All scores so far are kept: "
            "give fewer --processes and start the command again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    """Keep OpenCV to one thread: there are as many processes as cores."""
    import cv2

    cv2.setNumThreads(1)


def _load_and_score(batch: Sequence[Job], setting: Setting) -> list[Scores]:
    return _score(batch, _load(batch[0].scorer, setting))


def _score(batch: Sequence[Job], loaded: Score) -> list[Scores]:
    scorer = batch[0].scorer
    read = cache(_read)  # a garment once for all its images in the batch
    return score([_pair(job.files, scorer.parts, read) for job in batch], scorer, loaded)


def _batches(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Cut jobs, which are in the order of their scorers, into batches of one scorer each."""
    for name in dict.fromkeys(job.scorer.name for job in jobs):
        same = [job for job in jobs if job.scorer.name == name]
        yield from (same[start : start + BATCH] for start in range(0, len(same), BATCH))


def _pair(files: PairFiles, parts: Sequence[str], read: Callable[[str, Path], Any]) -> PairContent:
    """Read the parts of a pair that are asked for; those that cannot be read are in its problems."""
    found: dict[str, Any] = {}
    problems: dict[str, NoScore] = {}
    for name in parts:
        part = files.part(name)
        try:
            found[name] = read(name, part) if isinstance(part, Path) else part
        except NoScore as reason:
            problems[name] = NoScore(f"{name.replace('_', ' ')}: {reason.reason}", reason.detail)
    return PairContent(**found, problems=problems)


def _read(name: str, path: Path) -> Any:
    return read_mask(path) if name.endswith("mask") else read_image(path)
