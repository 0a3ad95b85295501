"""The scores on disk, from which a run that was stopped or killed resumes."""

import json
from collections.abc import Callable
from pathlib import Path

from .digests import text_digest
from .manifest import PairFiles
from .outcome import NoScore, Outcome
from .scoring import Scorer, Scores

VERSION = "2"  # raise it whenever a term is computed in another way


def key(scorer: Scorer, files: PairFiles, setting: str, digest: Callable[[Path], str | None]) -> str | None:
    """Return one digest of everything that a pair's scores depend on: file contents, scorer and setting.

    None where a file is missing: it may appear later, so that pair's scores are not kept.
    """
    needed = [VERSION, *scorer.terms, setting, *([scorer.version] if scorer.version else [])]
    for name in scorer.parts:
        part = files.part(name)
        content = digest(part) if isinstance(part, Path) else json.dumps(part)
        if content is None:
            return None
        needed.append(f"{name} {content}")
    return text_digest("\n".join(needed))


def read_scores(folder: Path) -> dict[str, Scores]:
    """Return all scores kept in a folder, by key. A line that a killed run left half written is left out."""
    scores: dict[str, Scores] = {}
    for path in sorted(folder.glob("scores-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            scores.update(_parsed(line))
    return scores


class ScoreLog:
    """The file to which one process appends its scores, each as soon as it is computed."""

    def __init__(self, folder: Path, process: int) -> None:
        self._path = folder / f"scores-{process}.jsonl"

    def add(self, key: str, scores: Scores) -> None:
        kept = {term: _as_json(outcome) for term, outcome in scores.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps([key, kept]))  # the line break first: what was cut off before stays alone


def _parsed(line: str) -> dict[str, Scores]:
    try:
        key, kept = json.loads(line)
        return {key: {term: _from_json(outcome) for term, outcome in kept.items()}}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _as_json(outcome: Outcome) -> float | list[str]:
    return [outcome.reason, outcome.detail] if isinstance(outcome, NoScore) else outcome


def _from_json(kept: float | list[str]) -> Outcome:
    return NoScore(*kept) if isinstance(kept, list) else float(kept)
