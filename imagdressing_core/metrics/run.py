"""Scoring many pairs: in parallel, and going on where an earlier run stopped."""

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from .cache import ScoreLog, file_digest, key, read_scores
from .cluster import WHOLE, WorkShare
from .images import read_image, read_mask
from .manifest import PairFiles
from .outcome import NoScore
from .paper import PROTOCOLS, Mode
from .scoring import PairContent, Score, Scorer, Scores, score

BATCH = 8  # pairs that a process or a model takes at once

Progress: TypeAlias = Callable[[int, int], None]  # done, total


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
    processes: int
    device: str
    weights: Mapping[str, str]

    def weights_of(self, scorer: Scorer) -> list[str]:
        return [self.weights.get(one.name, one.hub_id) for one in scorer.weights]

    def key_of(self, scorer: Scorer) -> str:
        """Return the part of this setting that the scores depend on: the mode changes no learned score."""
        return " ".join(self.weights_of(scorer)) or self.mode


@dataclass(frozen=True)
class Task:
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
    progress: Progress,
    share: WorkShare = WHOLE,
) -> list[Scores]:
    """Return the terms of each pair, in order.

    folder: where scores are kept, each as soon as it is there, and found again by a later run.
    share: this machine's part; the others' results are waited for.

    Raises:
        IMAGDressingError: a library or the weights of a scorer are missing; nothing is scored then.
    """
    models = {scorer.name: _load(scorer, setting) for scorer in scorers}
    folder.mkdir(parents=True, exist_ok=True)
    kept, log = read_scores(folder), ScoreLog(folder, share.index)
    tasks = _tasks(pairs, scorers, setting, share)
    scores: list[tuple[int, Scores]] = [(task.index, kept[task.key]) for task in tasks if task.key in kept]
    todo = [task for task in tasks if task.key not in kept]
    progress(len(scores), len(tasks))
    with closing(_scored(todo, setting, models)) as scored:
        for task, found in scored:
            if task.key is not None:
                log.add(task.key, found)
            scores.append((task.index, found))
            progress(len(scores), len(tasks))
    merged: list[Scores] = [{} for _ in pairs]
    for index, found in share.gathered(scores):
        merged[index] |= found
    terms = [term for scorer in scorers for term in scorer.terms]
    return [{term: found[term] for term in terms} for found in merged]


def _tasks(pairs: Sequence[PairFiles], scorers: Sequence[Scorer], setting: Setting, share: WorkShare) -> list[Task]:
    digest = cache(file_digest)

    def task(scorer: Scorer, index: int) -> Task:
        return Task(scorer, index, pairs[index], key(scorer, pairs[index], setting.key_of(scorer), digest))

    return [task(scorer, index) for scorer in scorers for index in share.of(range(len(pairs)))]


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
