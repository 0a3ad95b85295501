"""What saved workflows rely on, as it was first released: ids of nodes, their inputs and options in order, outputs.

A later version may add optional inputs and options behind these; it may not rename, remove or reorder them.
"""

from dataclasses import dataclass, field
from typing import Any

FILE = "FILE"
"""A choice among the files that are there."""

Inputs = dict[str, str | tuple[str, ...]]
"""Type of each input by name, or the options of a choice."""


@dataclass(frozen=True)
class Contract:
    required: Inputs
    optional: Inputs = field(default_factory=dict)
    outputs: tuple[str, ...] = ()


RELEASED: dict[str, Contract] = {
    "IMAGDressingModelLoader": Contract({"model_name": FILE}, {}, ("IMAGDRESSING_MODEL",)),
    "IMAGDressingEncodeGarment": Contract(
        {
            "imagdressing": "IMAGDRESSING_MODEL",
            "vae": "VAE",
            "clip_vision": "CLIP_VISION",
            "image": "IMAGE",
            "fit": ("official", "pad", "crop"),
            "width": "INT",
            "height": "INT",
        },
        {"mask": "MASK", "drop_background": "BOOLEAN", "clip": "CLIP"},
        ("IMAGDRESSING_GARMENT",),
    ),
    "IMAGDressingApply": Contract(
        {
            "model": "MODEL",
            "garment": "IMAGDRESSING_GARMENT",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
        },
        {"mask": "MASK"},
        ("MODEL",),
    ),
    "IMAGDressingApplyAdvanced": Contract(
        {
            "model": "MODEL",
            "garment": "IMAGDRESSING_GARMENT",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "layers": "STRING",
            "branches": ("conditional", "both"),
            "batch": ("broadcast", "one per image"),
        },
        {"mask": "MASK", "schedule": "STRING"},
        ("MODEL",),
    ),
    "IMAGDressingSaveGarment": Contract({"garment": "IMAGDRESSING_GARMENT", "filename_prefix": "STRING"}),
    "IMAGDressingLoadGarment": Contract({"garment_name": FILE}, {}, ("IMAGDRESSING_GARMENT",)),
    "IMAGDressingJoinGarments": Contract(
        {"garment_1": "IMAGDRESSING_GARMENT", "garment_2": "IMAGDRESSING_GARMENT"}, {}, ("IMAGDRESSING_GARMENT",)
    ),
    "IMAGDressingPasteBack": Contract(
        {"original": "IMAGE", "generated": "IMAGE", "mask": "MASK", "feather": "INT", "match_color": "BOOLEAN"},
        {"box": "BOUNDING_BOX"},
        ("IMAGE",),
    ),
    "IMAGDressingCropToMask": Contract(
        {"image": "IMAGE", "mask": "MASK", "margin": "FLOAT", "size": "INT"}, {}, ("IMAGE", "MASK", "BOUNDING_BOX")
    ),
    "IMAGDressingInpaintControl": Contract({"image": "IMAGE", "mask": "MASK"}, {}, ("IMAGE",)),
    "IMAGDressingHeatMap": Contract(
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "samples": "LATENT",
            "image": "IMAGE",
            "layers": "STRING",
            "steps": "INT",
        },
        {},
        ("IMAGE", "MASK"),
    ),
    "IMAGDressingEvaluate": Contract(
        {"garment_image": "IMAGE", "generated": "IMAGE", "mode": ("corrected", "published")},
        {
            "garment_mask": "MASK",
            "generated_mask": "MASK",
            "pose": "IMAGE",
            "generated_pose": "IMAGE",
            "face": "IMAGE",
            "prompt": "STRING",
        },
        ("STRING", "IMAGE"),
    ),
    "IMAGDressingConvertCheckpoint": Contract({"model_name": FILE, "dtype": ("fp16", "bf16", "fp32")}),
}


def changes(found: dict[str, Any]) -> list[str]:
    """Return how the nodes of ComfyUI's ``/object_info`` differ from what was released, but for what came behind it."""
    differences: list[str] = []
    for node_id, contract in RELEASED.items():
        info = found[node_id]
        for part, released in (("required", contract.required), ("optional", contract.optional)):
            inputs = info["input"].get(part, {})
            names = info["input_order"].get(part, [])
            if names[: len(released)] != list(released) or (part == "required" and len(names) != len(released)):
                differences.append(f"{node_id}: {part} inputs are {names}, released were {list(released)}")
            differences += [
                f"{node_id}: {name} is {inputs[name]}, released was {kind}"
                for name, kind in released.items()
                if name in inputs and not _same_kind(inputs[name], kind)
            ]
        if tuple(info["output"]) != contract.outputs:
            differences.append(f"{node_id}: outputs are {info['output']}, released were {contract.outputs}")
    return differences


def _same_kind(found: list[Any], kind: str | tuple[str, ...]) -> bool:
    if found[0] != "COMBO":
        return found[0] == kind
    return kind == FILE or tuple(found[1]["options"][: len(kind)]) == kind
