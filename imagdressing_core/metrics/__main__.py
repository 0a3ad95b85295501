"""The commands that compute the paper's result table: ``python -m imagdressing_core.metrics``."""

import os
import pickle
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ..command_line import run_command
from ..errors import IMAGDressingError, packages
from .field import DISTANCES, FIELD, distances_of, scorer_of_distances
from .launch import Processes, child, joined_processes, launched_process, own_device
from .manifest import MASKS, POSES, Case, Method, PairFiles, parse_method, read_manifest
from .paper import COLUMNS, Mode
from .provenance import provenance
from .report import corrections, grids, markdown, wrapped, write_report
from .run import BATCH, Setting, evaluate
from .scoring import SCORERS, Scorer
from .table import Table, make_table
from .weights import DETECTOR, INCEPTION, LABELS, PARSER, POSE_ESTIMATOR

with packages("The command"):
    import typer
    from tqdm import tqdm

SUMS = {
    "cami-s": ("cami-u", "pose", "face", "text"),
    "all": tuple(scorer.name for scorer in SCORERS),
    "field": tuple(scorer.name for scorer in FIELD),
}
SCORE_HELP = (
    f"The scores to compute: {', '.join([*(one.name for one in SCORERS), 'cami-s', 'all'])}; not the paper's: "
    f"{', '.join([*SUMS['field'], *DISTANCES, 'field'])}; an own one: MODULE:NAME."
)
OURS = "IMAGDressing-v1"
CORES = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # of this process of a launch
LONGEST_PRINTED = 40  # rows; longer tables are in the report only

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.command("evaluate")
def evaluate_command(
    manifest: Annotated[
        Path, typer.Argument(help="CSV or JSON: picture, garment, garment_mask, pose, face, prompt, person.")
    ],
    method: Annotated[list[str], typer.Option(help="NAME=FOLDER of a method's images. Once for each method.")],
    score: Annotated[list[str], typer.Option(help=SCORE_HELP)] = ["cami-u"],  # noqa: B006
    mode: Annotated[Mode, typer.Option(help="CAMI as the official code computes it, or corrected.")] = "corrected",
    compare: Annotated[
        str | None, typer.Option(help=f"The method that the others are compared with. [default: {OURS}, or the first]")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder of the report and of the kept scores.")] = Path("evaluation"),
    processes: Annotated[int, typer.Option(min=1, help="How many CPU processes score at once.")] = CORES,
    device: Annotated[str, typer.Option(help="Where models run: cpu, cuda, cuda:1 …")] = "cpu",
    weights: Annotated[list[str], typer.Option(help="NAME=PATH of weights that are not to come from the hub.")] = [],  # noqa: B006
    images: Annotated[
        int, typer.Option("--pictures", min=0, help="The number of manifest rows whose images the page shows.")
    ] = 100,
) -> None:
    """Score all images of all methods, and write the result table.

    Scores are kept as soon as they are computed: the same command resumes where a stopped one was. Started by
    accelerate launch or torchrun, the processes share the work, each with its own GPU under --device cuda.
    """
    methods, cases = _methods(method), read_manifest(manifest)
    reference = _reference([one.name for one in methods], compare)
    scorers, distances = _scorers(score)
    named = _weights(weights, scorers)
    with joined_processes() as ours:
        setting = Setting(mode, processes, ours.device_of(device), named)
        _evaluate(cases, methods, Scoring(scorers, distances, setting, reference), output, images, ours)


@app.command("run")
def run_file_command(
    file: Annotated[Path, typer.Argument(help="The run file, in TOML.")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many processes share the work here. [default: one for each GPU]")
    ] = None,
) -> None:
    """Make the masks, poses, images and scores of all methods that a run file names, and write the result table.

    What is there already is kept: the same command resumes where a stopped one was. Started by accelerate launch or
    torchrun, on one machine or several that share the output folder, the processes share the work.
    """
    import torch

    from .run_file import Preparation, read_run_file

    run = read_run_file(file)
    reference = _reference(list(run.methods), run.compare)
    scorers, distances = _scorers(run.score)
    named = _weights([f"{name}={path}" for name, path in run.weights.items()], scorers)
    wanted = processes or (torch.cuda.device_count() if run.device == "cuda" else 1)
    if wanted > 1 and launched_process().count == 1:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={wanted}"]
        with child([*launcher, "-m", "imagdressing_core.metrics", "run", str(file)]) as process:
            raise typer.Exit(process.wait())
    with joined_processes() as ours:
        setting = Setting(run.mode, CORES, ours.device_of(run.device), named)
        cases, methods = Preparation(run, ours).prepare()
        _evaluate(cases, methods, Scoring(scorers, distances, setting, reference), run.output, run.images, ours)


@dataclass(frozen=True)
class Scoring:
    """The scores of a run, ``distances`` those of whole methods, and the method that the others are compared with."""

    scorers: Sequence[Scorer]
    distances: Sequence[str]
    setting: Setting
    reference: str


def _evaluate(
    cases: Sequence[Case], methods: Sequence[Method], scoring: Scoring, output: Path, images: int, ours: Processes
) -> None:
    """Score this process's share; the first process writes the report."""
    setting = scoring.setting
    pairs = [PairFiles(one, case) for one in methods for case in cases]
    if ours.is_first:
        typer.echo(_first_line(methods, len(pairs), scoring.scorers, setting, ours.count), err=True)
    with tqdm(unit=" scores", disable=not ours.is_first) as bar:

        def move(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        scorers = [*scoring.scorers, *scorer_of_distances(scoring.distances)]
        scores, task = evaluate(pairs, scorers, setting, output, move, ours)
    if ours.is_first:
        typer.echo("Computing the table …", err=True)
        origin = provenance(task, setting.device, ours.count)
        whole = distances_of(pairs, scoring.distances, setting.weights.get(INCEPTION.name), setting.device)
        table = make_table(pairs, scores, scoring.reference, setting.mode, scoring.scorers, whole)
        _report(table, pairs, origin, output, images)


@app.command("masks")
def masks_command(
    folder: Annotated[Path, typer.Argument(help="A folder of images: a method's, or the garments'.")],
    out: Annotated[Path | None, typer.Option(help="Where the masks go. [default: the folder's masks]")] = None,
    weights: Annotated[str, typer.Option(help="A clothes parser in transformers' format, or its hub id.")] = (
        PARSER.hub_id
    ),
    label: Annotated[list[str], typer.Option(help="The parser's names for the garment's pixels.")] = list(LABELS),  # noqa: B006
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Mark the garment in every image of a folder, by a clothes parser."""
    from .annotate import ClothesParser

    _annotate(folder, out or folder / MASKS, ClothesParser(weights, tuple(label), own_device(device)))


@app.command("poses")
def poses_command(
    folder: Annotated[Path, typer.Argument(help="A folder of images: a method's, or of persons.")],
    out: Annotated[Path | None, typer.Option(help="Where the drawings go. [default: the folder's poses]")] = None,
    weights: Annotated[str, typer.Option(help="A ViTPose in transformers' format, or its hub id.")] = (
        POSE_ESTIMATOR.hub_id
    ),
    detector: Annotated[
        str, typer.Option(help="A detector of persons; empty if every image shows one person and little else.")
    ] = DETECTOR.hub_id,
    device: Annotated[str, typer.Option(help="Where the models run: cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Draw the poses in every image of a folder, in OpenPose's colours."""
    from .annotate import PoseEstimator

    _annotate(folder, out or folder / POSES, PoseEstimator(weights, detector, own_device(device)))


def _annotate(folder: Path, target: Path, annotator: Any) -> None:
    from .annotate import annotate, folder_work

    work = launched_process().share_of(folder_work(folder, target))
    problems = annotate(tqdm(work, unit=" images"), annotator)
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(f"{len(work) - len(problems)} of {len(work)} images have one in {target}")
    raise typer.Exit(1 if problems else 0)


def _report(table: Table, pairs: Sequence[PairFiles], origin: Mapping[str, str], folder: Path, images: int) -> None:
    write_report(table, pairs, origin, folder, images)
    for grid in grids(table):
        if len(grid.frame) <= LONGEST_PRINTED:
            typer.echo(f"\n{grid.title}\n{grid.note}\n{markdown(grid)}")
    typer.echo(
        f"\nThe command corrections lists the differences from the official code. Run {origin['run']} is written to"
    )
    typer.echo(f"{folder}: report.html, table.md, table.tex, table.csv, scores.csv, garments.csv, evaluation.json")


def _first_line(methods: Sequence[Method], pairs: int, scorers: Sequence[Scorer], setting: Setting, count: int) -> str:
    names = ", ".join(one.name for one in methods)
    return (
        f"{pairs} pairs of {names}; scores {', '.join(one.name for one in scorers)}; mode {setting.mode}; models on "
        f"{setting.device}; {count} launched process{'es' if count > 1 else ''}, each with {setting.processes} for "
        f"scores without a model; {BATCH} pairs at once."
    )


@app.command("corrections")
def corrections_command(
    mode: Annotated[Mode, typer.Argument(help="corrected or published")] = "corrected",
) -> None:
    """Print the differences from the official code, with the reasons."""
    typer.echo(wrapped(corrections(mode)))


def _methods(texts: Sequence[str]) -> list[Method]:
    methods = [parse_method(text) for text in texts]
    names = [one.name for one in methods]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise IMAGDressingError(f"--method {repeated[0]} is given {names.count(repeated[0])} times; give each a name.")
    return methods


def _reference(names: Sequence[str], asked: str | None) -> str:
    if asked is None:
        return OURS if OURS in names else names[0]
    if asked not in names:
        raise IMAGDressingError(f"--compare {asked} is no method of this run. There are {', '.join(names)}.")
    return asked


def _scorers(names: Sequence[str]) -> tuple[list[Scorer], list[str]]:
    """Return the scorers of images, and the names of the distances of whole methods."""
    known = {scorer.name: scorer for scorer in (*SCORERS, *FIELD)}
    wanted = dict.fromkeys(part for name in names for part in SUMS.get(name, (name,)))
    unknown = [name for name in wanted if name not in known and name not in DISTANCES and ":" not in name]
    if unknown:
        there = ", ".join([*known, *DISTANCES, *SUMS])
        raise IMAGDressingError(f"--score {unknown[0]} is unknown. There are {there}, and MODULE:NAME for an own one.")
    scorers = [known.get(name) or _own_scorer(name) for name in wanted if name not in DISTANCES]
    if not scorers:
        raise IMAGDressingError(f"--score {names[0]} is of whole methods: give a score of images too, such as cami-u.")
    _require_own_terms(known, [name for name in wanted if name not in DISTANCES], scorers)
    return scorers, [name for name in wanted if name in DISTANCES]


def _require_own_terms(known: Mapping[str, Scorer], names: Sequence[str], scorers: Sequence[Scorer]) -> None:
    """Raise IMAGDressingError if an own scorer has a term of another: they would be one column, and kept as one."""
    taken = {term: name for name, scorer in known.items() for term in scorer.terms}
    taken |= dict.fromkeys((one.name for one in COLUMNS), "the paper") | {one.name: "FID" for one in DISTANCES.values()}
    for name, scorer in zip(names, scorers, strict=True):
        for term in () if name in known else scorer.terms:
            other = taken.setdefault(term, name)
            if other != name:
                raise IMAGDressingError(f"--score {name}: its term {term!r} is {other}'s too. Name it otherwise.")


def _own_scorer(text: str) -> Scorer:
    try:
        found = pkgutil.resolve_name(text)
    except (ImportError, AttributeError, ValueError) as error:
        raise IMAGDressingError(f"--score {text} cannot be imported: {error}. Is it on PYTHONPATH?") from error
    if not isinstance(found, Scorer):
        raise IMAGDressingError(f"--score {text} is a {type(found).__name__}, no Scorer of {Scorer.__module__}.")
    try:
        pickle.dumps(found)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise IMAGDressingError(
            f"--score {text} cannot be sent to processes ({error}): load must be a function of the module, no lambda."
        ) from error
    return found


def _weights(texts: Sequence[str], scorers: Sequence[Scorer]) -> dict[str, str]:
    known = [one.name for scorer in (*SCORERS, *FIELD, *scorers) for one in scorer.weights if one.name]
    names = list(dict.fromkeys([*known, INCEPTION.name]))
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (name, _, path) in zip(texts, pairs, strict=True) if name not in names or not path]
    if wrong:
        raise IMAGDressingError(f"--weights {wrong[0]}: write NAME=PATH, with NAME one of {', '.join(names)}.")
    return {name: path for name, _, path in pairs}


def main() -> None:
    run_command(app)


if __name__ == "__main__":
    main()
