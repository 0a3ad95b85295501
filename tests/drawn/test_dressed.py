"""In the real ComfyUI, on the small trained models: the garment is seen where it should be, and nowhere else.

Every image is 128 × 160, from ComfyUI's own sampler. The thresholds are far from what was measured (``demo/README.md``)
and far from chance.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from support import comfyui_process as comfyui
from support.comfyui_release import HOME

from demo import data, drawing, measure, models, world
from demo.comfyui import SAMPLER, ComfyUI, as_image, as_tensor
from imagdressing_core.files.official_files import CONTROLNET_INPAINT

WIDTH, STEPS = data.SMALL_WIDTH, 10
EVERYWHERE = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "layers": "all", "branches": "conditional"}
PEOPLE = [data.drawn(number, "unseen") for number in range(4)]
SHIRTS = [one.shirt for one in PEOPLE]
OTHERS = [*SHIRTS[1:], SHIRTS[0]]
TEXTS = ("positive", "negative")


@pytest.fixture(scope="module", autouse=True)
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield


@cache
def host() -> ComfyUI:
    folder: Path = HOME / "drawn" / "models"
    models.make_models(folder)
    return ComfyUI(folder)


@cache
def images(dress: str, people: int = len(PEOPLE), **applied: Any) -> list[Any]:
    """Return an image of each of the first ``PEOPLE``. dress: "own", "another" or "none"."""
    clothes = {"own": SHIRTS[:people], "another": OTHERS[:people], "none": None}[dress]
    return host().make(PEOPLE[:people], clothes, WIDTH, steps=STEPS, **applied)


def mean(name: str, made: list[Any], clothes: list[drawing.Cloth] = SHIRTS) -> float:
    scores = [measure.score(*one)[name] for one in zip(made, PEOPLE, clothes, strict=True)]
    return sum(scores) / len(scores)


def difference(these: list[Any], those: list[Any], columns: slice = slice(None)) -> float:
    pairs = [
        (numpy.asarray(a, float)[:, columns], numpy.asarray(b, float)[:, columns])
        for a, b in zip(these, those, strict=True)
    ]
    return float(numpy.mean([numpy.abs(a - b).mean() for a, b in pairs]))


def test_the_torso_has_the_colours_of_the_garment_and_not_of_another() -> None:
    own = mean("colour_error", images("own"))
    assert own < 0.5 * mean("colour_error", images("another"))
    assert own < 0.5 * mean("colour_error", images("none"))
    assert mean("colour_error", images("another"), OTHERS) < 0.5 * mean("colour_error", images("another"))


def test_the_torso_has_the_pattern_of_the_garment() -> None:
    assert mean("pattern", images("own")) >= 0.5  # chance is 0.2


def test_the_prompts_scene_is_there_with_a_garment_and_without() -> None:
    assert mean("scene", images("none")) >= 0.8
    assert mean("scene", images("own")) >= 0.8


@pytest.mark.parametrize("dress", ["none", "own"])
def test_the_prompts_pose_is_there_with_a_garment_and_without(dress: str) -> None:
    people = [replace(one, scene="studio", pose=pose) for one, pose in zip(PEOPLE, world.POSES, strict=True)]
    made = host().make(people, SHIRTS if dress == "own" else None, WIDTH, steps=STEPS)
    assert sum(measure.pose_of(image) == one.pose for image, one in zip(made, people, strict=True)) >= 3


def test_at_strength_0_nobody_wears_it() -> None:
    assert difference(images("own", 1, strength=0.0), images("none")[:1]) == 0


def test_strength_orders_the_effect() -> None:
    plain = images("none")[:2]
    effects = [difference(images("own", 2, strength=strength), plain) for strength in (0.3, 0.6)]
    assert 0 < effects[0] < effects[1] < difference(images("own")[:2], plain)


def test_a_mask_keeps_the_garment_to_its_half() -> None:
    mask = torch.zeros(1, 160, 128)
    mask[:, :, :64] = 1
    masked = host().make(PEOPLE[:2], SHIRTS[:2], WIDTH, steps=STEPS, mask=mask)
    left, right = (difference(masked, images("none")[:2], half) for half in (slice(0, 48), slice(80, None)))
    assert left > 3 * right


def test_shirt_and_trousers_each_land_where_they_belong() -> None:
    upper = torch.zeros(1, 160, 128)
    upper[:, :92] = 1
    made: list[Any] = []
    for number, one in enumerate(PEOPLE[:2]):
        dressed = host().dressed(host().garment(one.shirt, WIDTH), mask=upper)
        dressed = host().dressed(host().garment(one.trousers, WIDTH), dressed, mask=1 - upper)
        made += host().sample(dressed, world.caption(one), WIDTH, STEPS, noise=number)
    for kind, other in (("shirt", "trousers"), ("trousers", "shirt")):
        own, swapped = (errors(made, kind, colours) for colours in (kind, other))
        assert own < 0.6 * swapped


def errors(made: list[Any], kind: str, colours: str) -> float:
    """Return how far the garments of a kind are from a garment of that kind in another's colours."""
    found: list[float] = []
    for image, one in zip(made, PEOPLE[: len(made)], strict=True):
        cloth = replace(getattr(one, colours), kind=kind)
        found.append(measure.score(image, one, cloth)["colour_error"])
    return sum(found) / len(found)


def test_the_heat_map_is_hotter_on_the_torso_than_elsewhere() -> None:
    one = PEOPLE[0]
    dressed = host().dressed(host().garment(one.shirt, WIDTH))
    latent = host().latent(dressed, world.caption(one), WIDTH, STEPS)
    positive = comfyui.call("CLIPTextEncode", clip=host().clip, text=world.caption(one))
    pixels = comfyui.call("VAEDecode", samples=latent, vae=host().vae)
    _, shares = comfyui.call(
        "IMAGDressingHeatMap", model=dressed, positive=positive, samples=latent, image=pixels, layers="all", steps=4
    )
    torso = torch.zeros(160, 128, dtype=torch.bool)
    torso[62:92, 52:76] = True
    # 0.40 against 0.35 was measured: so small a model looks at the garment everywhere, and only uses it on the torso.
    assert shares[0][torso].mean() > 1.05 * shares[0][~torso].mean()


def test_a_saved_garment_dresses_the_same(tmp_path: Path) -> None:
    garment_file = comfyui.pack("imagdressing_core.files.garment_file")
    garment = host().garment(SHIRTS[0], WIDTH)
    garment_file.save_garment(garment, tmp_path / "shirt.safetensors")
    dressed = host().dressed(garment_file.load_garment(tmp_path / "shirt.safetensors"))
    assert difference(host().sample(dressed, world.caption(PEOPLE[0]), WIDTH, STEPS), images("own")[:1]) == 0


def test_each_image_of_a_batch_wears_its_own_garment() -> None:
    one, two = (host().garment(cloth, WIDTH) for cloth in SHIRTS[:2])
    dressed = comfyui.call(
        "IMAGDressingApplyAdvanced",
        model=host().model,
        garment=comfyui.call("IMAGDressingJoinGarments", garment_1=one, garment_2=two),
        batch="one per image",
        **EVERYWHERE,
    )
    made = host().sample(dressed, world.caption(PEOPLE[0]), WIDTH, STEPS, batch=2)
    errors = [[measure.score(image, PEOPLE[0], cloth)["colour_error"] for cloth in SHIRTS[:2]] for image in made]
    assert errors[0][0] < errors[0][1] and errors[1][1] < errors[1][0]


def test_pasted_back_into_a_photo_the_garment_is_new_and_all_else_is_the_photo() -> None:
    one, cloth = PEOPLE[0], SHIRTS[1]
    photo = as_tensor(world.image(one, WIDTH))
    mask = torch.from_numpy(numpy.array(world.mask(one, "shirt", WIDTH))).float()[None] / 255
    texts = {name: comfyui.call("CLIPTextEncode", clip=host().clip, text=world.caption(one)) for name in TEXTS}
    guided = comfyui.call(
        "ControlNetApplyAdvanced",
        **texts,
        control_net=comfyui.call("ControlNetLoader", control_net_name=CONTROLNET_INPAINT.name),
        image=comfyui.call("IMAGDressingInpaintControl", image=photo, mask=mask),
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    latent = comfyui.call("VAEEncode", pixels=photo, vae=host().vae)
    latent = comfyui.call("SetLatentNoiseMask", samples=latent, mask=mask)
    dressed = host().dressed(host().garment(cloth, WIDTH))
    settings = {"seed": measure.SEED, "steps": STEPS, "cfg": measure.GUIDANCE, **SAMPLER}
    conditioning = dict(zip(TEXTS, guided, strict=True))
    latent = comfyui.call("KSampler", model=dressed, **conditioning, latent_image=latent, **settings)
    generated = comfyui.call("VAEDecode", samples=latent, vae=host().vae)
    pasted = comfyui.call(
        "IMAGDressingPasteBack", original=photo, generated=generated, mask=mask, feather=0, match_color=False
    )
    assert torch.equal(pasted[mask == 0], photo[mask == 0])
    before, after = (measure.score(as_image(image[0]), one, cloth)["colour_error"] for image in (photo, pasted))
    assert after < 0.5 * before
