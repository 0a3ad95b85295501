"""The command line: ``accelerate launch -m imagdressing_core.training train config.toml``, and its companions."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..command_line import STOPPED, run_command
from .config import all_data, read_config

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Training of IMAGDressing-v1."
)
Config = Annotated[Path, typer.Argument(help="The run's configuration, a TOML file.")]


@app.command()
def train(config: Config) -> None:
    """Train, from the newest state of the run if there is one. SIGTERM saves the state and ends with status 143."""
    from .trainer import train

    if not train(read_config(config)):
        raise typer.Exit(STOPPED)


@app.command()
def check(config: Config) -> None:
    """Estimate the memory, and open every image of the data; name all broken entries."""
    from .data import check
    from .memory import estimate

    read = read_config(config)
    for line in estimate(read):
        typer.echo(line)
    problems = 0
    for data in all_data(read):
        for problem in check(data):
            problems += 1
            typer.echo(problem)
    typer.echo(f"{problems} problems." if problems else "All entries are whole.")
    raise typer.Exit(1 if problems else 0)


@app.command()
def cache(config: Config) -> None:
    """Encode every image once, before training; several processes share the work."""
    from .cache import prepare_cache

    prepare_cache(read_config(config), typer.echo)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's output folder, or one of its states.")],
    target: Annotated[Path, typer.Argument(help="The files to write, without suffix.")],
    dtype: Annotated[Literal["fp16", "bf16", "fp32"], typer.Option(help="Precision of the weights.")] = "fp16",
    averaged: Annotated[bool, typer.Option(help="Take the averaged weights, if there are any.")] = True,
) -> None:
    """Write a state as the nodes' .safetensors and as an official .pt, with a model card."""
    from .export import export
    from .state import PROGRESS_FILE, require_state

    state = run if (run / PROGRESS_FILE).exists() else require_state(run)
    for path in export(state, target, dtype, averaged):
        typer.echo(path)


@app.command()
def trial(
    folder: Annotated[Path, typer.Argument(help="A new folder for everything that the trial makes.")] = Path("trial"),
    steps: Annotated[int, typer.Option(min=4, help="Steps of the training.")] = 60,
) -> None:
    """Watch a whole run succeed in minutes, on a CPU too: drawn pairs, tiny models, every command of a real run."""
    from .trial import trial

    trial(folder, steps, typer.echo)


def main() -> None:
    run_command(app)


if __name__ == "__main__":
    main()
