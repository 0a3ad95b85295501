"""The command that makes the paper's result table: ``python -m imagdressing_core.metrics``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ..command_line import run_command
from ..errors import IMAGDressingError, packages
from .cluster import WHOLE, join
from .manifest import Method, PairFiles, parse_method, read_manifest
from .paper import Mode
from .run import Setting, evaluate
from .scoring import SCORERS, Scorer

with packages("The command"):
    import typer
    from tqdm import tqdm

SUMS = {"cami-s": ("cami-u", "pose", "face", "text"), "all": tuple(scorer.name for scorer in SCORERS)}
OURS = "IMAGDressing-v1"
LONGEST_PRINTED = 40  # rows; longer tables are in the report only

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.command("evaluate")
def evaluate_command(
    manifest: Annotated[Path, typer.Argument(help="CSV or JSON: image, garment, garment_mask, pose, face, prompt.")],
    method: Annotated[list[str], typer.Option(help="NAME=FOLDER of a method's images. Once for each method.")],
    score: Annotated[
        list[str], typer.Option(help=f"What to compute: {', '.join([*(one.name for one in SCORERS), *SUMS])}.")
    ] = ["cami-u"],  # noqa: B006
    mode: Annotated[Mode, typer.Option(help="CAMI as the official code computes it, or corrected.")] = "corrected",
    compare: Annotated[
        str | None, typer.Option(help=f"The method that the others are compared with. [default: {OURS}, or the first]")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the report and of the scores kept.")] = Path("evaluation"),
    processes: Annotated[int, typer.Option(min=1, help="How many work at once.")] = os.cpu_count() or 1,
    device: Annotated[str, typer.Option(help="Where models run: cpu, cuda, cuda:1 …")] = "cpu",
    weights: Annotated[list[str], typer.Option(help="SCORE=PATH of a score's weights, if not from the hub.")] = [],  # noqa: B006
    images: Annotated[
        int, typer.Option("--pictures", min=0, help="The number of manifest rows whose images the page shows.")
    ] = 100,
    address: Annotated[str, typer.Option(help="On several machines: host:port of machine 0.")] = "",
    machines: Annotated[int, typer.Option(min=1, help="How many machines run this command.")] = 1,
    machine: Annotated[int, typer.Option(min=0, help="Which of them this is, from 0.")] = 0,
) -> None:
    """Score all images of all methods, and write the result table.

    What is scored is kept at once: the same command goes on where a stopped one was.
    """
    methods = _methods(method)
    pairs = [PairFiles(one, case) for one in methods for case in read_manifest(manifest)]
    reference = _reference(methods, compare)
    scorers = _scorers(score)
    setting = Setting(mode, processes, device, _weights(weights))
    if address:
        typer.echo(f"Machine {machine} waits for all {machines} at {address}.", err=True)
    share = join(address, machines, machine) if address else WHOLE
    with tqdm(unit=" scores", disable=share.index > 0) as bar:
        scores = evaluate(pairs, scorers, setting, output, lambda done, total: _move(bar, done, total), share)
    if share.index > 0:
        return
    from .report import grids, markdown, wrapped, write_report
    from .table import Scored, make_table

    scored = [Scored(files, found) for files, found in zip(pairs, scores, strict=True)]
    asked = [term for scorer in scorers for term in scorer.terms]
    table = make_table(methods, scored, asked, reference)
    write_report(table, mode, output, images)
    *results, differing = grids(table, mode)
    for grid in results:
        if len(grid.rows) <= LONGEST_PRINTED:
            typer.echo(f"\n{grid.title}\n{grid.note}\n{markdown(grid)}")
    typer.echo(f"\n{differing.title}\n{wrapped(differing)}")
    typer.echo(f"\nWritten to {output}: report.html, table.md, table.tex, table.csv, scores.csv, garments.csv")


@app.command("corrections")
def corrections_command(
    mode: Annotated[Mode, typer.Argument(help="corrected or published")] = "corrected",
) -> None:
    """Print what differs from the official code, and why."""
    from .report import corrections, wrapped

    typer.echo(wrapped(corrections(mode)))


def _methods(texts: Sequence[str]) -> list[Method]:
    methods = [parse_method(text) for text in texts]
    names = [one.name for one in methods]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise IMAGDressingError(f"--method {repeated[0]} is given {names.count(repeated[0])} times; give each a name.")
    return methods


def _reference(methods: Sequence[Method], asked: str | None) -> str:
    names = [one.name for one in methods]
    if asked is None:
        return OURS if OURS in names else names[0]
    if asked not in names:
        raise IMAGDressingError(f"--compare {asked} is no method of this run. There are {', '.join(names)}.")
    return asked


def _scorers(names: Sequence[str]) -> list[Scorer]:
    known = {scorer.name: scorer for scorer in SCORERS}
    wanted = [part for name in names for part in SUMS.get(name, (name,))]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise IMAGDressingError(f"--score {unknown[0]} is unknown. There are {', '.join([*known, *SUMS])}.")
    return [known[name] for name in dict.fromkeys(wanted)]


def _weights(texts: Sequence[str]) -> dict[str, str]:
    learned = [one.name for scorer in SCORERS for one in scorer.weights]
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (name, _, path) in zip(texts, pairs, strict=True) if name not in learned or not path]
    if wrong:
        raise IMAGDressingError(f"--weights {wrong[0]}: write SCORE=PATH, with SCORE one of {', '.join(learned)}.")
    return {name: path for name, _, path in pairs}


def _move(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def main() -> None:
    run_command(app)


if __name__ == "__main__":
    main()
