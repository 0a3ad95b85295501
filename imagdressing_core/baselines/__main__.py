"""The command that makes a method's folder of pictures: ``python -m imagdressing_core.baselines``."""

from pathlib import Path
from typing import Annotated

from ..errors import run_command
from ..metrics.manifest import read_manifest
from ..metrics.needs import packages
from . import comfy, pipelines
from .recipe import Recipe, generate

with packages("The command"):
    import typer
    from tqdm import tqdm

Manifest = Annotated[Path, typer.Option(help="CSV or JSON: picture, garment, garment_mask, prompt.")]
Out = Annotated[Path, typer.Option(help="The method's folder. Pictures that are there are kept.")]
Url = Annotated[str, typer.Option(help="Where ComfyUI is, as the browser has it.")]
Device = Annotated[str, typer.Option(help="Where models run: cpu, cuda, cuda:1 …")]
Weights = Annotated[str, typer.Option(help="A folder in the format of diffusers, or a hub id.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__)


@app.command()
def imagdressing(manifest: Manifest, out: Out, url: Url = comfy.URL) -> None:
    """IMAGDressing-v1, by the shipped workflow in a running ComfyUI."""
    _make(manifest, out, comfy.imagdressing(url))


@app.command()
def magic_clothing(
    manifest: Manifest,
    out: Out,
    url: Url = comfy.URL,
    checkpoint: Annotated[str, typer.Option(help="The file in ComfyUI's models/imagdressing.")] = comfy.MAGIC_CLOTHING,
) -> None:
    """MagicClothing, by the same nodes in a running ComfyUI. Needs garment_mask."""
    _make(manifest, out, comfy.magic_clothing(url, checkpoint))


@app.command()
def ip_adapter(
    manifest: Manifest,
    out: Out,
    base: Weights = pipelines.BASE,
    vae: Weights = pipelines.VAE,
    adapter: Annotated[str, typer.Option(help="IP-Adapter's folder, or a hub id.")] = pipelines.IP_ADAPTER,
    device: Device = "cpu",
) -> None:
    """IP-Adapter-Plus, by diffusers."""
    _make(manifest, out, pipelines.ip_adapter(base, vae, adapter, device))


@app.command()
def blip_diffusion(
    manifest: Manifest,
    out: Out,
    weights: Weights = pipelines.BLIP_DIFFUSION,
    category: Annotated[str, typer.Option(help="What the garments are called.")] = "garment",
    device: Device = "cpu",
) -> None:
    """BLIP-Diffusion, by the last diffusers that runs it."""
    _make(manifest, out, pipelines.blip_diffusion(weights, category, device))


@app.command()
def versatile_diffusion(
    manifest: Manifest, out: Out, weights: Weights = pipelines.VERSATILE_DIFFUSION, device: Device = "cpu"
) -> None:
    """Versatile Diffusion, by diffusers."""
    _make(manifest, out, pipelines.versatile_diffusion(weights, device))


def _make(manifest: Path, out: Path, recipe: Recipe) -> None:
    cases = read_manifest(manifest)
    with tqdm(total=len(cases), unit=" pictures") as bar:
        made = generate(cases, recipe, out, lambda done, _: _move(bar, done))
    typer.echo(f"{recipe.name}: {made} pictures made, {len(cases) - made} were there; all {len(cases)} in {out}")


def _move(bar: tqdm, done: int) -> None:
    bar.update(done - bar.n)


def main() -> None:
    run_command(app)


if __name__ == "__main__":
    main()
