"""Makes ``results/tables.md`` and ``results/ratios.svg`` of the results that are there."""

import json
from pathlib import Path

from results_file import RESULTS, Row, load, markdown_row

HEAD = "| what | it takes | the other takes | ratio | of medians | goal |\n| --- | --- | --- | --- | --- | --- |"
STEPS = ("sampling", "attention-pytorch", "attention-split", "compiled", "growth")
ORDER = (*STEPS, "fused-attention", "picture", "memory", "loading", "profile", "profile-pytorch", "flops")
NO_GPU = (
    "## On a GPU\n\nEmpty: no machine with a GPU has run this yet. There `make bench` adds the same tables in fp16: "
    "steps of 512x640 and 768x960 in batches of 1, 4 and 16, 50-step pictures, growth, memory as PyTorch counts it."
)


def result_files() -> list[Path]:
    return [path for part in ORDER for path in sorted(RESULTS.glob(f"{part}_c*.json"))]


def tables() -> str:
    text = [
        "# Results",
        "Made by `make bench`. A ratio is the second column over the third, each the fastest of several taken in turn, "
        "since whatever else a machine does only adds; beside it the ratio of their medians.",
    ]
    for path in result_files():
        content = json.loads(path.read_text())
        rows = "\n".join(markdown_row(row) for row in load(path))
        text.append(f"## {path.stem}\n\n`{content['command']}` on {content['machine']}.\n\n{HEAD}\n{rows}")
    if not any(path.stem.endswith("cuda") for path in result_files()):
        text.append(NO_GPU)
    return "\n\n".join(text) + "\n"


def plot(path: Path) -> None:
    """Draw every ratio of a step against plain SD1.5 as a bar, with a line at 1."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ratios"  # the same picture of the same results
    from matplotlib import pyplot

    rows: list[Row] = [r for file in result_files() if file.stem.startswith(STEPS) for r in load(file)]
    bars = [(row.name, row.ratio) for row in reversed(rows) if row.ratio and "against ours" not in row.name]
    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.25 * len(bars)))
    colours = ["#999999" if "official" in name else "#3b6ea5" for name, _ in bars]
    axes.barh([name for name, _ in bars], [ratio for _, ratio in bars], color=colours)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("time of a step over that of plain SD1.5 (grey: the official pipeline)")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    (RESULTS / "tables.md").write_text(tables())
    plot(RESULTS / "ratios.svg")
