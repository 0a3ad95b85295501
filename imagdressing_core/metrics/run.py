"""Scoring many pairs: shared among processes, and resumed where an earlier run stopped."""

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import IMAGDressingError
from ..model.garment_unet import Progress
from .cache import ScoreLog, key, read_scores
from .images import read_image, read_mask
from .launch import ALONE, Processes
from .manifest import PairFiles
from .outcome import NoScore
from .paper import PROTOCOLS, Mode
from .provenance import file_digest, text_digest, weights_digest
from .scoring import PairContent, Score, Scorer, Scores, score

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
class Task:
    """One scorer on one pair. index: of the pair; key: of the kept scores, None if they are not kept."""

    scorer: Scorer
    index: int
    files: PairFiles
    key: str | None


@dataclass(frozen=True)
class Scored:
    """The scores of all pairs, in order.

    Attributes:
        task: By name, the parts of the task on which all processes agreed: what the scores depend on.
    """

    scores: list[Scores]
    task: Mapping[str, str]


def evaluate(
    pairs: Sequence[PairFiles],
    scorers: Sequence[Scorer],
    setting: Setting,
    folder: Path,
    progress: Progress,
    processes: Processes = ALONE,
) -> Scored:
    """Score all pairs; each process scores its share and gets the scores of all.

    Args:
        folder: Scores are kept here, each as soon as it is computed, and found again by a later run.
        processes: The processes that share the work.

    Raises:
        IMAGDressingError: a library or the weights of a scorer are missing, or the processes have different tasks;
            nothing is scored then. Or another process stopped.
    """
    models = _load_all(scorers, setting)
    task = _task(pairs, scorers, setting)
    processes.require_same(task)
    folder.mkdir(parents=True, exist_ok=True)
    kept, log = read_scores(folder), ScoreLog(folder, processes.index)
    tasks = _tasks(pairs, scorers, task, processes)
    scores: list[tuple[int, Scores]] = [(task.index, kept[task.key]) for task in tasks if task.key in kept]
    todo = [task for task in tasks if task.key not in kept]
    progress(len(scores), len(tasks))
    with closing(_scored(todo, setting, models)) as scored:
        for one, found in scored:
            if one.key is not None:
                log.add(one.key, found)
            scores.append((one.index, found))
            progress(len(scores), len(tasks))
    merged: list[Scores] = [{} for _ in pairs]
    for index, found in processes.gathered(scores):
        merged[index] |= found
    terms = [term for scorer in scorers for term in scorer.terms]
    return Scored([{term: found[term] for term in terms} for found in merged], task)


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


def _tasks(
    pairs: Sequence[PairFiles], scorers: Sequence[Scorer], task: Mapping[str, str], processes: Processes
) -> list[Task]:
    digest = cache(file_digest)
    return [
        Task(scorer, index, pairs[index], key(scorer, pairs[index], _setting_of(scorer, task), digest))
        for scorer in scorers
        if scorer.terms  # a distance of whole methods has none
        for index in processes.share_of(range(len(pairs)))
    ]


def _setting_of(scorer: Scorer, task: Mapping[str, str]) -> str:
    """Return the part of the task that the scores depend on: the mode changes no learned score."""
    return " ".join(task[f"weights of {one.name}"] for one in scorer.weights) or task["mode"]


def _load(scorer: Scorer, setting: Setting) -> Score:
    return scorer.load(setting.weights_of(scorer), setting.device, PROTOCOLS[setting.mode])


def _scored(
    todo: Sequence[Task], setting: Setting, models: Mapping[str, Score]
) -> Generator[tuple[Task, Scores], None, None]:
    """Yield each task with its scores: several processes do those without a model, then this one runs the models."""
    plain = [task for task in todo if not task.scorer.weights]
    yield from _in_processes(plain, setting) if setting.processes > 1 else _here(plain, models)
    yield from _here([task for task in todo if task.scorer.weights], models)


def _here(tasks: Sequence[Task], models: Mapping[str, Score]) -> Iterator[tuple[Task, Scores]]:
    for batch in _batches(tasks):
        yield from zip(batch, _score(batch, models[batch[0].scorer.name]), strict=True)


def _in_processes(tasks: Sequence[Task], setting: Setting) -> Iterator[tuple[Task, Scores]]:
    pool = ProcessPoolExecutor(setting.processes, multiprocessing.get_context("spawn"), _one_thread)
    try:
        futures = {pool.submit(_load_and_score, batch, setting): batch for batch in _batches(tasks)}
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


def _load_and_score(batch: Sequence[Task], setting: Setting) -> list[Scores]:
    return _score(batch, _load(batch[0].scorer, setting))


def _score(batch: Sequence[Task], loaded: Score) -> list[Scores]:
    scorer = batch[0].scorer
    read = cache(_read)  # a garment once for all its images in the batch
    return score([_pair(task.files, scorer.parts, read) for task in batch], scorer, loaded)


def _batches(tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
    """Cut tasks, which are in the order of their scorers, into batches of one scorer each."""
    for name in dict.fromkeys(task.scorer.name for task in tasks):
        same = [task for task in tasks if task.scorer.name == name]
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
