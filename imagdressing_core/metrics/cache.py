"""The scores on disk, from which a run that was stopped or killed resumes."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from .manifest import PairFiles
from .outcome import NoScore
from .provenance import text_digest
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
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                key, kept = json.loads(line)
                scores[key] = {
                    term: NoScore(*one) if isinstance(one, list) else float(one) for term, one in kept.items()
                }
    return scores


def keep_scores(folder: Path, process: int, key: str, scores: Scores) -> None:
    """Append a pair's scores to the file of one process."""
    line = json.dumps([key, scores], default=lambda missing: [missing.reason, missing.detail])
    with (folder / f"scores-{process}.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + line)  # the line break first: what was cut off before stays alone
