"""What a benchmark found: JSON under ``results/`` with the machine beside it, and Markdown tables of it."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parent / "results"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Row:
    """One finding: ``value``, in ``unit``, against ``base``; or by itself.

    goal: what it should be, for the reader. medians: where value and base are the fastest of several, the ratio of
    their medians.
    """

    name: str
    value: float
    unit: str
    base: float | None = None
    goal: str = ""
    medians: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.base is None else round(self.value / self.base, 3)


def save(part: str, rows: Iterable[Row]) -> None:
    """Write each row as it comes into ``results/<part>_<device>.json``, in place of one of its name."""
    path = RESULTS / f"{part}_{DEVICE}.json"
    RESULTS.mkdir(exist_ok=True)
    for row in rows:
        found = [old for old in load(path) if old.name != row.name] + [row]
        content = {
            "machine": machine(),
            "command": f"python benchmarks/bench.py {part}",
            "ratios": [asdict(r) | {"ratio": r.ratio} for r in found if r.base is not None],
            "figures": [asdict(r) for r in found if r.base is None],
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(markdown_row(row), flush=True)


def load(path: Path) -> list[Row]:
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    return [
        Row(**{field.name: entry[field.name] for field in fields(Row)})
        for entry in (*content["ratios"], *content["figures"])
    ]


def markdown_row(row: Row) -> str:
    base, ratio = ("", "") if row.base is None else (f"{row.base:.4g} {row.unit}", f"{row.ratio:.2f}")
    medians = "" if row.medians is None else f"{row.medians:.2f}"
    return f"| {row.name} | {row.value:.4g} {row.unit} | {base} | {ratio} | {medians} | {row.goal} |"


def machine() -> str:
    from support.comfyui_release import comfyui_path, comfyui_version_of

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return (
        f"{_cpu_name()}, threads: {torch.get_num_threads()}{gpu}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, ComfyUI {comfyui_version_of(comfyui_path())}"
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
