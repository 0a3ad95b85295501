"""A part's training starts from what it needs, learns, and goes on after a stop as if there had been none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo import models, narrow, parts, train

CPU = torch.device("cpu")
PLAN = train.Plan(small=3, steps=3, batch=1, rate=1e-3)


def test_a_run_stopped_after_a_step_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"

    run(unbroken, "base", PLAN)
    stopped = started(broken, "base", PLAN)
    stopped.one_step()
    stopped.save()
    run(broken, "base", PLAN)

    expected, found = (load_file(folder / "base.safetensors") for folder in (unbroken, broken))
    assert all(torch.equal(one, found[key]) for key, one in expected.items())


def test_the_garment_learns_and_the_denoising_unet_stays_as_it_is(tmp_path: Path) -> None:
    before = trained_together(tmp_path)

    garment = started(tmp_path, "garment", replace(PLAN, steps=1))
    start = {key: one.clone() for key, one in garment.model.state_dict().items()}
    garment.run()

    after = garment.model.state_dict()
    moved = {key for key, one in start.items() if not torch.equal(one, after[key])}
    assert {"adapter_modules.4.to_k_ref.weight", "ref_unet.conv_in.weight"} <= moved
    assert not any(narrow.is_idle(key) for key in moved)
    assert all(torch.equal(one, parts.trained_together(tmp_path, "unet.")[key]) for key, one in before.items())


def test_together_both_unets_and_the_projections_learn(tmp_path: Path) -> None:
    save_file(narrow.narrow_unet().state_dict(), tmp_path / "base.safetensors")
    together = started(tmp_path, "together", replace(PLAN, steps=2))
    start = {key: one.clone() for key, one in together.model.state_dict().items()}

    together.run()

    after = together.model.state_dict()
    moved = {key for key, one in start.items() if not torch.equal(one, after[key])}
    assert {
        "unet.conv_in.weight",
        "garment.adapter_modules.4.to_v_ref.weight",
        "garment.ref_unet.conv_in.weight",
    } <= moved


@pytest.mark.parametrize(("part", "first"), [("together", "base"), ("garment", "together"), ("pose", "together")])
def test_a_part_asks_for_the_one_that_it_starts_from(part: str, first: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"train the part {first} first"):
        started(tmp_path, part, PLAN)


def test_no_two_steps_see_the_same_person_and_the_last_see_images_of_both_sizes() -> None:
    plan = train.Plan(small=2, steps=5, batch=3, rate=1e-3)

    seen = [plan.images(step) for step in range(plan.steps)]

    numbers = [number for some, _ in seen for number in some]
    assert len(set(numbers)) == len(numbers)
    assert [(len(some), width) for some, width in seen] == [(6, 128), (6, 128), (6, 128), (3, 256), (3, 256)]


def test_what_is_packed_fills_every_official_tensor_and_is_small(tmp_path: Path) -> None:
    unet = trained_together(tmp_path)
    for part in models.PARTS[1:]:
        started(tmp_path, part, PLAN).save()

    models.pack(tmp_path, tmp_path / "weights.safetensors")
    unpacked = models.unpacked(tmp_path / "weights.safetensors")

    assert (tmp_path / "weights.safetensors").stat().st_size < 16e6
    assert set(unpacked) == set(models.PARTS)
    assert torch.equal(unpacked["unet"]["conv_in.weight"], unet["conv_in.weight"].half().float())


@pytest.mark.parametrize("part", ["pose", "inpaint"])
def test_a_controlnet_learns_from_what_it_is_shown(part: str, tmp_path: Path) -> None:
    trained_together(tmp_path)
    control = started(tmp_path, part, replace(PLAN, steps=2))
    start = {key: one.clone() for key, one in control.model.state_dict().items()}

    control.run()

    after = control.model.state_dict()
    moved = {key for key, one in start.items() if not torch.equal(one, after[key])}
    assert {"controlnet_down_blocks.0.weight", "controlnet_cond_embedding.conv_out.weight"} <= moved


def trained_together(folder: Path) -> dict[str, torch.Tensor]:
    """Stand for a training of both U-Nets; return the denoising one's weights."""
    unet = narrow.narrow_unet()
    both = parts.Together(unet, parts.garment_model(unet))
    save_file(both.state_dict(), folder / "together.safetensors")
    return unet.state_dict()


def run(folder: Path, part: str, plan: train.Plan) -> None:
    started(folder, part, plan).run()


def started(folder: Path, part: str, plan: train.Plan) -> train.Run:
    folder.mkdir(parents=True, exist_ok=True)
    return train.Run(folder, part, plan, CPU)
