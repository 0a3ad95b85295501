"""The command that generates a method's folder of images: ``python -m imagdressing_core.baselines``."""

from pathlib import Path
from typing import Annotated, Literal

from ..command_line import run_command
from ..errors import IMAGDressingError, packages
from ..metrics.launch import launched_process, own_device
from ..metrics.manifest import read_manifest
from . import on_comfyui, on_diffusers, pipelines
from .recipe import Recipe, generate

with packages("The command"):
    import typer

Manifest = Annotated[Path, typer.Option(help="CSV or JSON: picture, garment, garment_mask, pose, face, prompt.")]
Out = Annotated[Path, typer.Option(help="The method's folder. Images that exist are kept.")]
Url = Annotated[str, typer.Option(help="The address of ComfyUI, as in the browser.")]
Device = Annotated[str, typer.Option(help="Where models run: cpu, cuda, cuda:1 …")]
Follow = Annotated[
    Literal["pose", "face-and-pose"] | None,
    typer.Option(help="What of the manifest the images follow besides the garment, in ComfyUI."),
]
Local = Annotated[Path | None, typer.Option(help="On diffusers: a folder in its format.")]
Weights = Annotated[str, typer.Option(help="A folder in the format of diffusers, or a hub id.")]

FOLLOWS = {None: (), "pose": ("pose",), "face-and-pose": ("pose", "face")}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__)


@app.command()
def imagdressing(
    manifest: Manifest,
    out: Out,
    url: Url = on_comfyui.URL,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="An own file in ComfyUI's models/imagdressing, or its path. [default: the official one]"),
    ] = None,
    follow: Follow = None,
    base: Annotated[Path | None, typer.Option(help="SD1.5, its folder or its one file, in place of ComfyUI.")] = None,
    image_encoder: Local = None,
    vae: Local = None,
    controlnet: Local = None,
    device: Device = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="On diffusers: images at once.")] = 1,
    tokenizer: Annotated[
        Path | None, typer.Option(help="For a base of one file: ComfyUI's comfy/sd1_tokenizer.")
    ] = None,
) -> None:
    """IMAGDressing-v1, by a shipped workflow in a running ComfyUI, or on diffusers with --base."""
    if base is None:
        models = {"--image-encoder": image_encoder, "--vae": vae, "--controlnet": controlnet, "--tokenizer": tokenizer}
        without_effect = [name for name, path in models.items() if path is not None]
        without_effect += ["--device"] * (device != "cpu") + ["--batch"] * (batch != 1)
        if without_effect:
            raise IMAGDressingError(
                f"{without_effect[0]} is for diffusers, which --base asks for. ComfyUI chooses by itself; there "
                "--follow makes images follow poses and faces."
            )
        recipe = on_comfyui.imagdressing(url, checkpoint, FOLLOWS[follow])
    elif follow is not None:
        raise IMAGDressingError("--follow is for ComfyUI. On diffusers, --controlnet makes images follow their poses.")
    else:
        file, own = None if checkpoint is None else Path(checkpoint), own_device(device)
        recipe = on_diffusers.imagdressing(base, file, image_encoder, vae, controlnet, own, batch, tokenizer)
    _make(manifest, out, recipe)


@app.command()
def magic_clothing(
    manifest: Manifest,
    out: Out,
    url: Url = on_comfyui.URL,
    checkpoint: Annotated[
        str, typer.Option(help="The file in ComfyUI's models/imagdressing.")
    ] = on_comfyui.MAGIC_CLOTHING,
    follow: Follow = None,
) -> None:
    """MagicClothing, by the same nodes in a running ComfyUI. Needs garment_mask."""
    _make(manifest, out, on_comfyui.magic_clothing(url, checkpoint, FOLLOWS[follow]))


@app.command()
def ip_adapter(
    manifest: Manifest,
    out: Out,
    base: Weights = pipelines.BASE.hub_id,
    vae: Weights = pipelines.VAE.hub_id,
    adapter: Annotated[str, typer.Option(help="IP-Adapter's folder, or a hub id.")] = pipelines.IP_ADAPTER.hub_id,
    device: Device = "cpu",
    controlnet: Annotated[
        str | None, typer.Option(help="The OpenPose ControlNet's folder or hub id, to follow the manifest's poses.")
    ] = None,
    face: Annotated[bool, typer.Option("--face", help="Follow the manifest's faces, by IP-Adapter-Plus-Face.")] = False,
) -> None:
    """IP-Adapter-Plus, by diffusers."""
    _make(manifest, out, pipelines.ip_adapter(base, vae, adapter, own_device(device), controlnet, face))


@app.command()
def blip_diffusion(
    manifest: Manifest,
    out: Out,
    weights: Weights = pipelines.BLIP_DIFFUSION.hub_id,
    category: Annotated[str, typer.Option(help="The word for the garments.")] = "garment",
    device: Device = "cpu",
) -> None:
    """BLIP-Diffusion, by the last diffusers that runs it."""
    _make(manifest, out, pipelines.blip_diffusion(weights, category, own_device(device)))


@app.command()
def versatile_diffusion(
    manifest: Manifest, out: Out, weights: Weights = pipelines.VERSATILE_DIFFUSION.hub_id, device: Device = "cpu"
) -> None:
    """Versatile Diffusion, by diffusers."""
    _make(manifest, out, pipelines.versatile_diffusion(weights, own_device(device)))


def _make(manifest: Path, out: Path, recipe: Recipe) -> None:
    """Make this process's share of the images; there is one process without a launcher."""
    cases = launched_process().share_of(read_manifest(manifest))
    made = generate(cases, recipe, out)
    typer.echo(f"{recipe.name}: {made} images made, {len(cases) - made} existed; all {len(cases)} in {out}")


def main() -> None:
    run_command(app)


if __name__ == "__main__":
    main()
