"""The command that makes a catalogue: ``python -m imagdressing_core.catalogue``."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from ..command_line import require_device, run_command
from ..errors import IMAGDressingError, packages, require_between
from ..images.preprocess import FITS
from ..metrics.manifest import MOST_PROBLEMS
from ..on_diffusers.finite import require_size
from .maker import Done, Models, Style, recipe
from .page import PAGE, SHEETS, write_page
from .rows import Catalogue, Row, read_catalogue
from .run import Setting, make_here, make_on_ray, new_token, write_record

with packages("A catalogue", "cluster"):
    import typer
    from tqdm import tqdm

IMAGES, TABLE = "images", "catalogue.csv"
MOST_STEPS, MOST_GUIDANCE, MOST_STRENGTH = 1000, 100, 5  # of SD1.5's schedule, of KSampler, of Apply Garment
IMAGE_FILES = {".png", ".jpg", ".jpeg", ".webp"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
MODEL = "A folder in diffusers' format, or a .safetensors file as ComfyUI has it."
Model = Annotated[Path, typer.Option(help=MODEL)]
OtherModel = Annotated[Path | None, typer.Option(help=MODEL)]
OtherFolder = Annotated[Path | None, typer.Option(help="A folder in diffusers' format.")]


@app.command()
def catalogue(
    manifest: Annotated[Path, typer.Argument(help="CSV: garment, prompt, pose, seed.")],
    out: Annotated[Path, typer.Option(help="The catalogue's folder. Images that exist are kept.")],
    base: Model,
    checkpoint: Annotated[Path, typer.Option(help="The garment model, official or trained here.")],
    image_encoder: Model,
    vae: OtherModel = None,
    controlnet: OtherFolder = None,
    prompts: Annotated[Path | None, typer.Option(help="A text file: each row is made with each line.")] = None,
    poses: Annotated[Path | None, typer.Option(help="A folder of images: each row is made with each.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds each row is made with, from 42 on.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster, or auto for the one of this machine.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many. [default: one for each GPU, or each machine without]")
    ] = None,
    device: Annotated[str, typer.Option(help="Where models run: cpu, cuda …")] = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="Images at once. Other batches round otherwise.")] = 1,
    width: Annotated[int, typer.Option(help="Of the images, in pixels.")] = Style.width,
    height: Annotated[int, typer.Option(help="Of the images, in pixels.")] = Style.height,
    steps: Annotated[int, typer.Option(min=1, max=MOST_STEPS, help="Sampling steps.")] = Style.steps,
    guidance: Annotated[float, typer.Option(help="w of the paper's Eq. 7.")] = Style.guidance,
    strength: Annotated[float, typer.Option(help="λ, the strength of the garment.")] = Style.strength,
    fit: Annotated[str, typer.Option(help=f"How garments are brought to size: {', '.join(FITS)}.")] = Style.fit,
    tokenizer: Annotated[
        Path | None, typer.Option(help="CLIP's vocabulary for a base of one file: ComfyUI's comfy/sd1_tokenizer.")
    ] = None,
) -> None:
    """Make an image of each row of the manifest, then contact sheets and a page to look through.

    Images are files named by a digest of all that they depend on: the same command goes on where a stopped one was.
    """
    if fit not in FITS:
        raise IMAGDressingError(f"--fit {fit} is unknown. There are {', '.join(FITS)}.")
    require_size(width, height)
    require_between("--guidance", guidance, 0, MOST_GUIDANCE)
    require_between("--strength", strength, 0, MOST_STRENGTH)
    dtype = "float16" if device.startswith("cuda") else "float32"
    style = Style(width, height, steps, guidance, strength, fit, dtype=dtype)
    named = (base, checkpoint, image_encoder, vae, controlnet, tokenizer)
    models = Models(*(None if path is None else path.resolve() for path in named))  # pyright: ignore[reportArgumentType]
    setting = Setting(out.resolve(), models, style, device, batch, new_token())
    found = read_catalogue(manifest, setting.folder / IMAGES, recipe(models, style), _lists(prompts, poses, seeds))
    write_record(setting)
    todo = [rows for rows in found.by_garment() if not all(row.image.is_file() for row in rows)]
    done: Iterator[Done] = iter(())  # without anything to do, no model is loaded
    if todo and address is None and workers is None:
        require_device(device)
        done = make_here(todo, setting)
    elif todo:
        done = make_on_ray(todo, setting, address, workers)
    sys.exit(_finish(found, setting, _followed(done, todo, found)))


def _lists(prompts: Path | None, poses: Path | None, seeds: int | None) -> dict[str, Sequence[str]]:
    lists: dict[str, Sequence[str]] = {}
    try:
        if prompts is not None:
            lists["prompt"] = [line for line in prompts.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if poses is not None:
            files = sorted(path for path in poses.iterdir() if path.suffix.lower() in IMAGE_FILES)
            lists["pose"] = [str(path.resolve()) for path in files]
    except (OSError, UnicodeError) as error:
        raise IMAGDressingError(f"--prompts or --poses cannot be read: {error}.") from error
    for column, given in {"prompt": prompts, "pose": poses}.items():
        if given is not None and not lists[column]:
            raise IMAGDressingError(f"--{column}s {given} names nothing: no image would be made.")
    if seeds is not None:
        lists["seed"] = [str(seed) for seed in range(42, 42 + seeds)]
    return lists


def _followed(done: Iterator[Done], todo: Sequence[Sequence[Row]], found: Catalogue) -> dict[str, str]:
    """Follow a run on a progress bar; return the reasons of the images that could not be made, by their names."""
    count, total = len(found.rows), sum(map(len, todo))
    problems: dict[str, str] = {}
    with tqdm(total=count, initial=count - total, unit=" images") as bar:
        for name, problem in done:
            bar.update()
            if problem:
                problems[name] = problem
    return problems


def _finish(found: Catalogue, setting: Setting, problems: dict[str, str]) -> int:
    """Write table, sheets and page, name the broken rows; return the exit status: 1 with broken rows."""
    found.table["problem"] = [problems.get(row["image"], row["problem"]) for row in found.table.to_dict("records")]
    found.table.drop(columns=["garment_digest", "pose_digest"]).to_csv(setting.folder / TABLE, index=False)
    write_page(found, setting.folder)
    broken = found.table[found.table["problem"] != ""]
    typer.echo(
        f"{len(found.table) - len(broken)} of {len(found.table)} rows are in {setting.folder}: {PAGE} shows them, "
        f"{TABLE} names them, {SHEETS} has a sheet for each garment."
    )
    for number, problem in list(broken["problem"].items())[:MOST_PROBLEMS]:
        typer.echo(f"row {int(str(number)) + 1}: {problem}", err=True)
    if len(broken) > MOST_PROBLEMS:
        typer.echo(f"… and {len(broken) - MOST_PROBLEMS} more, all in {TABLE}", err=True)
    return int(len(broken) > 0)


def main() -> None:
    run_command(app)


if __name__ == "__main__":
    main()
