"""Whatever comes over a wire: each node says on itself which socket got what, and what to connect instead."""

import copy
import importlib
import pickle
from typing import Any

import pytest
import torch
from support import comfyui_process, small_values

IMAGE, MASK = torch.rand(1, 32, 32, 3), torch.ones(1, 32, 32)
WINDOW = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}


class Anything:
    """A value that fits no socket: what another pack may give under the name of one of ComfyUI's types."""


@pytest.fixture
def inputs() -> dict[str, dict[str, Any]]:
    """Right values for all wires of each node, by its id and socket."""
    model, garment, encoder = small_values.sd15(), small_values.garment(), small_values.encoder()
    clip_vision, vae, conditioning = Named("encode_image"), Named("encode", "first_stage_model"), [[IMAGE, {}]]
    advanced = {"layers": "all", "branches": "conditional", "batch": "broadcast"}
    encode = {"imagdressing": encoder, "vae": vae, "clip_vision": clip_vision, "image": IMAGE}
    return {
        "IMAGDressingEncodeGarment": encode | {"fit": "pad", "width": 64, "height": 80},
        "IMAGDressingApply": {"model": model, "garment": garment} | WINDOW,
        "IMAGDressingApplyAdvanced": {"model": model, "garment": garment} | WINDOW | advanced,
        "IMAGDressingSaveGarment": {"garment": garment, "filename_prefix": "shirt"},
        "IMAGDressingJoinGarments": {"garment_1": garment, "garment_2": garment},
        "IMAGDressingPasteBack": {"original": IMAGE, "generated": IMAGE, "mask": MASK}
        | {"feather": 0, "match_color": False},
        "IMAGDressingCropToMask": {"image": IMAGE, "mask": MASK, "margin": 0.25, "size": 64},
        "IMAGDressingInpaintControl": {"image": IMAGE, "mask": MASK},
        "IMAGDressingHeatMap": {
            "model": model,
            "positive": conditioning,
            "samples": {"samples": torch.zeros(1, 4, 4, 4)},
        }
        | {"image": IMAGE, "layers": "all", "steps": 1},
        "IMAGDressingEvaluate": {"garment_image": IMAGE, "generated": IMAGE, "mode": "corrected"},
    }


class Named:
    """A value with these attributes, all None."""

    def __init__(self, *names: str) -> None:
        self.__dict__ = dict.fromkeys(names, ...)


REQUIRED = [
    *(("IMAGDressingEncodeGarment", name) for name in ("imagdressing", "vae", "image")),
    *((f"IMAGDressingApply{kind}", name) for kind in ("", "Advanced") for name in ("model", "garment")),
    ("IMAGDressingSaveGarment", "garment"),
    *(("IMAGDressingJoinGarments", name) for name in ("garment_1", "garment_2")),
    *(("IMAGDressingPasteBack", name) for name in ("original", "generated", "mask")),
    *(("IMAGDressingCropToMask", name) for name in ("image", "mask")),
    *(("IMAGDressingInpaintControl", name) for name in ("image", "mask")),
    *(("IMAGDressingHeatMap", name) for name in ("model", "positive", "samples", "image")),
    *(("IMAGDressingEvaluate", name) for name in ("garment_image", "generated")),
]
OPTIONAL = [
    ("IMAGDressingEncodeGarment", "mask"),
    *((f"IMAGDressingApply{kind}", "mask") for kind in ("", "Advanced")),
    *(("IMAGDressingEvaluate", name) for name in ("garment_mask", "generated_mask", "pose", "generated_pose", "face")),
]


def refusal(node: str, inputs: dict[str, Any]) -> str:
    with pytest.raises(ValueError) as refused:
        comfyui_process.call(node, **inputs)
    assert type(refused.value).__name__ == "IMAGDressingError", refused.value
    return str(refused.value)


@pytest.mark.parametrize(("node", "socket"), REQUIRED)
def test_nothing_on_a_wire_is_said_on_the_node(inputs: dict[str, dict[str, Any]], node: str, socket: str):
    message = refusal(node, inputs[node] | {socket: None})
    assert message.startswith(f"{socket} is empty")
    assert "Connect " in message


@pytest.mark.parametrize("value", [[IMAGE], Anything(), "text"], ids=["list", "object", "text"])
@pytest.mark.parametrize(("node", "socket"), REQUIRED + OPTIONAL)
def test_a_wrong_value_on_a_wire_is_said_on_the_node(
    inputs: dict[str, dict[str, Any]], node: str, socket: str, value: Any
):
    message = refusal(node, inputs[node] | {socket: value})
    assert message.startswith(f"{socket} takes ")
    assert "connect " in message


@pytest.mark.parametrize(
    ("node", "socket"),
    [
        ("IMAGDressingEncodeGarment", "fit"),
        ("IMAGDressingEncodeGarment", "width"),
        ("IMAGDressingApply", "strength"),
        *(("IMAGDressingApplyAdvanced", name) for name in ("layers", "schedule", "branches", "batch")),
        ("IMAGDressingSaveGarment", "filename_prefix"),
        *(("IMAGDressingEvaluate", name) for name in ("mode", "prompt")),
        ("IMAGDressingHeatMap", "steps"),
        *(("IMAGDressingCropToMask", name) for name in ("margin", "size")),
        ("IMAGDressingPasteBack", "feather"),
    ],
)
@pytest.mark.parametrize("value", [None, ["pad"]], ids=["nothing", "list"])
def test_a_widget_that_a_wire_fills_wrongly_is_said_on_the_node(
    inputs: dict[str, dict[str, Any]], node: str, socket: str, value: Any
):
    assert refusal(node, inputs[node] | {socket: value}).startswith(f"{socket} is ")


def test_a_clip_vision_without_hidden_states_is_refused(inputs: dict[str, dict[str, Any]]):
    encoder = importlib.import_module("comfy.clip_vision").Output()
    given = inputs["IMAGDressingEncodeGarment"]
    given["clip_vision"].encode_image = lambda _: encoder
    assert "clip_vision gives no hidden states" in refusal("IMAGDressingEncodeGarment", given)


def test_a_compiled_engine_in_place_of_the_unet_is_refused():
    engine = small_values.sd15()
    engine.add_object_patch("diffusion_model", torch.nn.Identity())
    message = refusal("IMAGDressingApply", {"model": engine, "garment": small_values.garment()} | WINDOW)
    assert "model holds a Identity in place of SD1.5's U-Net" in message


def test_a_mask_means_the_same_in_every_shape(inputs: dict[str, dict[str, Any]]):
    mask = torch.zeros(32, 24)
    mask[:, :12] = 1
    shapes = [(32, 24), (1, 32, 24), (1, 1, 32, 24), (1, 32, 24, 1)]
    original, generated = torch.zeros(1, 32, 24, 3), torch.ones(1, 32, 24, 3)
    pasted = [
        comfyui_process.call(
            "IMAGDressingPasteBack",
            original=original,
            generated=generated,
            mask=mask.reshape(shape),
            feather=0,
            match_color=False,
        )
        for shape in shapes
    ]
    assert all(torch.equal(one, pasted[0]) for one in pasted)
    assert torch.equal(pasted[0][0, ..., 0], mask)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_other_packs_can_copy_a_garment(copied: Any):
    one = small_values.garment()
    both = comfyui_process.call("IMAGDressingJoinGarments", garment_1=one, garment_2=one)
    again = copied(both)
    assert len(again) == len(both)
    for image, other in zip(again.images, both.images, strict=True):
        assert image.origin == other.origin
        assert torch.equal(image.layers[0].k, other.layers[0].k)


def test_other_packs_can_compare_a_garment_and_use_it_as_a_key():
    one, other = small_values.garment(), small_values.garment()
    both, again = (comfyui_process.call("IMAGDressingJoinGarments", garment_1=one, garment_2=other) for _ in "ab")
    for first, second in ((both, again), (one, other), (one.images[0], other.images[0])):
        assert first == first and first != second and second in [first, second]
        assert {first: 1, second: 2}[second] == 2
