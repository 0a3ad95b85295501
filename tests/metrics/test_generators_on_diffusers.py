"""The baselines of diffusers, and ours on diffusers, on random weights in the published layouts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from support import tiny_pipelines
from typer.testing import CliRunner

from imagdressing_core.baselines import on_diffusers, pipelines
from imagdressing_core.baselines.__main__ import app
from imagdressing_core.baselines.recipe import Order, generate
from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.manifest import Case
from imagdressing_core.training import tiny_models

SMALL = {"width": 64, "height": 80, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def ip_adapter(tmp_path_factory: pytest.TempPathFactory) -> pipelines.PipelineRecipe:
    folder = tmp_path_factory.mktemp("ip_adapter")
    base = tiny_pipelines.stable_diffusion()
    base.save_pretrained(folder / "base")
    tiny_pipelines.ip_adapter(base, folder / "adapter")
    recipe = pipelines.ip_adapter(str(folder / "base"), str(folder / "base" / "vae"), str(folder / "adapter"))
    return replace(recipe, settings={**recipe.settings, **SMALL})


@pytest.fixture(scope="module")
def posed_ip_adapter(tmp_path_factory: pytest.TempPathFactory) -> pipelines.PipelineRecipe:
    """With a ControlNet, and another adapter for faces."""
    folder = tmp_path_factory.mktemp("ip_adapter")
    base = tiny_pipelines.stable_diffusion()
    base.save_pretrained(folder / "base")
    tiny_pipelines.ip_adapter(base, folder / "adapter")
    models = folder / "adapter" / "models"
    adapter = load_file(models / "ip-adapter-plus_sd15.safetensors")
    save_file({key: -one for key, one in adapter.items()}, models / "ip-adapter-plus-face_sd15.safetensors")
    tiny_pipelines.save_controlnet(folder / "controlnet", base.unet)
    names = (str(folder / name) for name in ("base", "base/vae", "adapter"))
    recipe = pipelines.ip_adapter(*names, controlnet=str(folder / "controlnet"), face=True)
    return replace(recipe, settings={**recipe.settings, **SMALL})


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> on_diffusers.DressingRecipe:
    folder = tmp_path_factory.mktemp("ours")
    tiny_models.save_tiny_models(folder)
    tiny_pipelines.stable_diffusion().vae.save_pretrained(folder / "vae")
    tiny_pipelines.save_controlnet(folder / "controlnet", tiny_models.tiny_unet())
    tiny_pipelines.save_checkpoint(folder / "own.safetensors")
    recipe = on_diffusers.imagdressing(
        folder, folder / "own.safetensors", folder / "image_encoder", None, folder / "controlnet", batch=2
    )
    return replace(recipe, settings={**recipe.settings, "width": 64, "height": 64, "steps": 2})


@pytest.fixture(scope="module")
def versatile_diffusion(tmp_path_factory: pytest.TempPathFactory) -> pipelines.PipelineRecipe:
    folder = tmp_path_factory.mktemp("versatile")
    tiny_pipelines.versatile_diffusion(folder)
    recipe = pipelines.versatile_diffusion(str(folder))
    return replace(recipe, settings={**recipe.settings, **SMALL})


@pytest.mark.parametrize("method", ["ip_adapter", "versatile_diffusion"])
def test_garment_prompt_and_seed_all_count(method: str, cases: list[Case], request: pytest.FixtureRequest):
    recipe: pipelines.PipelineRecipe = request.getfixturevalue(method)
    order = Order(cases[0].garment, None, "A woman", 1)
    others = [replace(order, garment=cases[2].garment), replace(order, prompt="Rain"), replace(order, seed=2)]
    first = recipe.image(order)
    assert first.size == (64, 80)
    assert recipe.image(order).tobytes() == first.tobytes()
    for other in others:
        assert np.abs(np.array(recipe.image(other), float) - np.array(first)).max() > 0


@pytest.mark.parametrize("method", ["posed_ip_adapter", "ours"])
def test_images_follow_the_pose_and_the_face_of_their_row(
    method: str, cases: list[Case], request: pytest.FixtureRequest
):
    recipe: Any = request.getfixturevalue(method)
    red, blue = cases[0].garment, cases[2].garment
    order = Order(red, None, "A woman", 1, pose=red, face=red)
    orders = [order, *(replace(order, **{part: blue}) for part in recipe.needs), replace(order, garment=blue)]
    made = [recipe.images([one])[0] for one in orders]
    assert recipe.needs == (["pose", "face"] if method == "posed_ip_adapter" else ["pose"])
    assert len({image.tobytes() for image in made}) == len(orders)


def test_ours_on_diffusers_makes_in_a_batch_what_it_makes_alone(
    ours: on_diffusers.DressingRecipe, cases: list[Case], tmp_path: Path
):
    cases = [replace(case, pose=case.garment) for case in cases]
    for out, recipe in (("batch", ours), ("alone", replace(ours, batch=1))):
        assert generate(cases, recipe, tmp_path / out) == 3
    for case in cases[:2]:
        batch, alone = (np.array(Image.open(tmp_path / out / case.file_name), float) for out in ("batch", "alone"))
        assert np.abs(batch - alone).max() <= 2
    found = json.loads((tmp_path / "batch" / "0.png.json").read_text())
    assert found["weights"]["checkpoint"].startswith("own.safetensors, digest ")
    assert (found["pose"], found["settings"]["steps"]) == ("red.png", 2)


def test_ours_on_diffusers_asks_for_all_its_models_and_not_for_comfyuis_options(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("picture,garment,prompt\n0.png,red.png,A woman\n")
    command = ["imagdressing", "--manifest", str(tmp_path / "manifest.csv"), "--out", str(tmp_path), "--base", "sd15"]
    for more, said in (
        ([], "give --checkpoint and --image-encoder"),
        (["--follow", "pose"], "--follow is for ComfyUI"),
    ):
        with pytest.raises(IMAGDressingError, match=said):
            CliRunner().invoke(app, [*command, *more], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--controlnet", "--vae", "--image-encoder", "--tokenizer", "--device", "--batch"])
def test_options_of_diffusers_are_not_ignored_in_comfyui(option: str, tmp_path: Path):
    command = ["imagdressing", "--manifest", str(tmp_path / "manifest.csv"), "--out", str(tmp_path), option, "2"]
    with pytest.raises(IMAGDressingError, match=f"{option} is for diffusers, which --base asks for"):
        CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.mark.parametrize("method", ["ip_adapter", "versatile_diffusion", "ours"])
def test_an_image_of_nan_is_named_and_not_kept_as_a_black_one(
    method: str, cases: list[Case], tmp_path: Path, request: pytest.FixtureRequest
):
    recipe: Any = request.getfixturevalue(method)
    guidance = dict.fromkeys(recipe.settings.keys() & {"guidance", "guidance_scale"}, float("inf"))
    broken = replace(recipe, settings=recipe.settings | guidance)
    cases = [replace(case, pose=case.garment) for case in cases]
    with pytest.raises(IMAGDressingError, match=rf"{cases[0].file_name}.* cannot be made: it has NaN"):
        generate(cases, broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ip_adapter_has_the_official_base_and_sampler(ip_adapter: pipelines.PipelineRecipe, cases: list[Case]):
    from diffusers import DDIMScheduler, UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

    scheduler, unet = ip_adapter.pipeline.scheduler, ip_adapter.pipeline.unet
    assert isinstance(scheduler, DDIMScheduler) and isinstance(unet, UNet2DConditionModel)
    assert scheduler.config["beta_schedule"] == "scaled_linear"
    scales = {tuple(p.scale) for name, p in unet.attn_processors.items() if "attn2" in name}  # pyright: ignore
    assert scales == {(0.5,)}
    assert ip_adapter.settings["guidance_scale"] == 7.5
    assert "bare" in ip_adapter.settings["negative_prompt"]


def test_a_pipeline_fills_a_folder(ip_adapter: pipelines.PipelineRecipe, cases: list[Case], tmp_path: Path):
    assert generate(cases[:2], ip_adapter, tmp_path / "out") == 2
    found = json.loads((tmp_path / "out" / "1.png.json").read_text())
    assert found["settings"]["num_inference_steps"] == 2
    assert found["weights"]["adapter"].endswith("models/ip-adapter-plus_sd15.safetensors at scale 0.5")
    assert set(found["versions"]) == {"imagdressing", "diffusers", "torch", "transformers"}


def test_blip_diffusion_names_the_versions_that_run_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transformers.__version__", "5.0.0")
    with pytest.raises(IMAGDressingError, match=r"pip install diffusers==0\.33\.1 transformers==4\.51\.3"):
        pipelines.blip_diffusion()


@pytest.mark.parametrize(
    ("load", "source"),
    [
        (lambda absent: pipelines.ip_adapter(vae=absent), "huggingface.co/stabilityai/sd-vae-ft-mse"),
        (lambda absent: pipelines.versatile_diffusion(absent), "huggingface.co/shi-labs/versatile-diffusion"),
    ],
    ids=["IP-Adapter", "Versatile Diffusion"],
)
def test_missing_weights_are_named_with_their_source(load: Any, source: str, tmp_path: Path):
    with pytest.raises(IMAGDressingError, match=source):
        load(str(tmp_path / "absent"))


def test_the_command_makes_a_folder_from_a_manifest(
    ip_adapter: pipelines.PipelineRecipe, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipelines, "ip_adapter", lambda *_: ip_adapter)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("picture,garment,prompt\n0.png,red.png,A woman\n1.png,blue.png,A man\n")
    command = ["ip-adapter", "--manifest", str(manifest), "--out", str(tmp_path / "out")]
    first, again = (CliRunner().invoke(app, command) for _ in range(2))
    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    assert "IP-Adapter: 2 images made, 0 existed" in first.output
    assert "IP-Adapter: 0 images made, 2 existed" in again.output


def test_launched_processes_share_the_manifest(
    ip_adapter: pipelines.PipelineRecipe, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipelines, "ip_adapter", lambda *_: ip_adapter)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("picture,garment,prompt\n" + "".join(f"{i}.png,red.png,Woman {i}\n" for i in range(3)))
    command = ["ip-adapter", "--manifest", str(manifest), "--out", str(tmp_path / "out")]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, names in ((1, {"1.png"}), (0, {"0.png", "1.png", "2.png"})):
        monkeypatch.setenv("RANK", str(rank))
        assert CliRunner().invoke(app, command).exit_code == 0
        assert {path.name for path in (tmp_path / "out").glob("*.png")} == names
