"""Evaluate Garment Fidelity: scores of images in the graph."""

import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from support import comfyui_process as comfyui
from support.comfyui_release import REPOSITORY

NAMES = ("structure", "texture", "keypoints", "CAMI-U")


def image(name: str) -> torch.Tensor:
    image = Image.open(REPOSITORY / f"workflows/input/imagdressing_{name}.png").convert("RGB").resize((96, 128))
    return torch.from_numpy(numpy.array(image)).float()[None] / 255


def evaluate(
    garment: torch.Tensor, generated: torch.Tensor, **inputs: Any
) -> tuple[list[dict[str, str]], str, torch.Tensor]:
    """Return (a row for each image by column, the text, the table image)."""
    text, table = comfyui.call(
        "IMAGDressingEvaluate", garment_image=garment, generated=generated, **({"mode": "corrected"} | inputs)
    )
    heading, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(heading, row, strict=True)) for row in rows], text, table


def test_the_garment_itself_scores_best_and_another_less():
    shirt = image("shirt")
    (same, other), _, _ = evaluate(shirt, torch.cat([shirt, image("trousers")]))
    assert [same[name] for name in NAMES] == ["1.000", "1.000", "1.000", "3.000"]
    assert float(other["CAMI-U"]) < 2.9


def test_the_scores_are_those_of_the_core():
    shirt, trousers = image("shirt"), image("trousers")
    cami = comfyui.pack("imagdressing_core.metrics.cami")
    protocols = comfyui.pack("imagdressing_core.metrics.paper").PROTOCOLS
    arrays = [(one[0].numpy() * 255).round().astype(numpy.uint8) for one in (shirt, trousers)]
    for mode in ("corrected", "published"):
        ((row, *_), _, _) = evaluate(shirt, trousers, mode=mode)
        terms = cami.cami_u_terms(*arrays, protocol=protocols[mode])
        assert {name: row[name] for name in terms} == {name: f"{value:.3f}" for name, value in terms.items()}


def test_as_masks_another_size_are_brought_to_their_images():
    shirt, trousers = image("shirt"), image("trousers")
    mask = torch.zeros(1, 256, 192)
    mask[:, 64:192, 48:144] = 1
    (masked,), _, _ = evaluate(shirt, trousers, garment_mask=mask, generated_mask=mask)
    (cut,), _, _ = evaluate(shirt[:, 32:96, 24:72], trousers[:, 32:96, 24:72])
    assert masked == cut


def test_an_empty_mask_leaves_a_gap_and_a_reason():
    shirt = image("shirt")
    (row,), text, _ = evaluate(shirt, shirt, generated_mask=torch.zeros(1, 128, 96))
    assert [row[name] for name in NAMES] == ["–"] * 4
    assert "structure: empty mask of the generated image" in text


def test_pose_is_scored_when_both_drawings_are_there():
    shirt, skeleton = image("shirt"), image("pose")
    (row,), _, _ = evaluate(shirt, shirt, pose=skeleton, generated_pose=skeleton)
    assert row["pose"] == "1.000"
    assert "CAMI-S" not in row


@pytest.mark.parametrize("given", ["pose", "generated_pose"])
def test_a_pose_without_the_other_is_said_to_be_left_out(caplog: pytest.LogCaptureFixture, given: str):
    shirt = image("shirt")
    (row,), _, _ = evaluate(shirt, shirt, **{given: image("pose")})
    assert "pose" not in row
    assert f"The pose is not scored: {given} is connected and" in caplog.text


def test_missing_models_cost_their_own_scores_only_and_say_where_to_put_them():
    shirt = image("shirt")
    (row,), text, _ = evaluate(shirt, shirt, face=image("worn"), prompt="a shirt")
    assert (row["CAMI-U"], row["face"], row["text"]) == ("3.000", "–", "–")
    for model in ("buffalo_l", "clip-vit-base-patch32"):
        assert str(Path("models/imagdressing_evaluation") / model) in text


@pytest.mark.parametrize(("gpu", "used"), [("cuda:0", "cuda:0"), ("meta", "cpu")], ids=["CUDA", "another"])
def test_the_metrics_run_on_a_gpu_only_where_all_of_them_can(monkeypatch: pytest.MonkeyPatch, gpu: str, used: str):
    import comfy.model_management as management

    room: list[Any] = []
    monkeypatch.setattr(management, "get_torch_device", lambda: torch.device(gpu))  # which is not there
    monkeypatch.setattr(management, "free_memory", lambda wanted, device: room.append((wanted > 0, str(device))))
    assert comfyui.pack("nodes.evaluate")._device() == used
    assert room == ([(True, used)] if used != "cpu" else [])


def test_a_missing_library_says_which_command_installs_it_and_the_rest_is_scored(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.endswith("imagdressing_core.metrics.cami")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    shirt = image("shirt")
    (row,), text, _ = evaluate(shirt, shirt)
    assert row["structure"] == "–"
    assert f'pip install "{REPOSITORY}[evaluation]"' in text


def test_the_table_is_an_image_with_a_part_for_each_pair():
    shirt = image("shirt")
    _, _, one = evaluate(shirt, shirt)
    _, _, two = evaluate(shirt, torch.cat([shirt, image("trousers")]))
    assert one.shape[0] == two.shape[0] == 1
    assert two.shape[1] == 2 * one.shape[1]
    assert torch.equal(two[:, : one.shape[1]], one)
    assert 0 <= float(one.min()) < float(one.max()) <= 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"garment_image": torch.full((1, 32, 32, 3), float("nan"))}, "garment_image: image holds NaN"),
        ({"generated": torch.zeros(1, 32, 32, 7)}, "generated: image must be a batch of images"),
        ({"garment_image": torch.zeros(3, 32, 32, 3)}, "garment_image has 3 for 2 generated images"),
        ({"garment_mask": torch.full((1, 32, 32), float("nan"))}, "garment_mask holds NaN"),
        ({"generated_mask": torch.zeros(3, 32, 32)}, "generated_mask has 3 for 2 generated images"),
    ],
)
def test_what_is_no_image_is_refused_by_the_name_of_its_socket(inputs: dict[str, torch.Tensor], message: str):
    connected = {"garment_image": torch.rand(1, 32, 32, 3), "generated": torch.rand(2, 32, 32, 3), "mode": "corrected"}
    with pytest.raises(Exception, match=message):
        comfyui.call("IMAGDressingEvaluate", **(connected | inputs))


def test_no_metric_is_loaded_before_the_node_runs():
    result = comfyui.in_a_process_of_its_own(
        "import sys; from support import comfyui_process; comfyui_process.start(); "
        "print([name for name in sys.modules if 'imagdressing_core.metrics' in name or name == 'skimage'])"
    )
    assert result.stdout.splitlines()[-1:] == ["[]"], result.stderr[-2000:]
