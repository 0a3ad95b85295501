"""What saved workflows rely on: ids of nodes and their inputs in order, as they were first released.

A later version may add optional inputs behind these; it may not rename, remove or reorder them.
"""

# id → (required inputs, optional inputs)
RELEASED: dict[str, tuple[list[str], list[str]]] = {
    "IMAGDressingModelLoader": (["model_name"], []),
    "IMAGDressingEncodeGarment": (
        ["imagdressing", "vae", "clip_vision", "image", "fit", "width", "height"],
        ["mask", "drop_background", "clip"],
    ),
    "IMAGDressingApply": (["model", "garment", "strength", "start_percent", "end_percent"], ["mask"]),
    "IMAGDressingApplyAdvanced": (
        ["model", "garment", "strength", "start_percent", "end_percent", "layers", "branches", "batch"],
        ["mask", "schedule"],
    ),
    "IMAGDressingSaveGarment": (["garment", "filename_prefix"], []),
    "IMAGDressingLoadGarment": (["garment_name"], []),
    "IMAGDressingJoinGarments": (["garment_1", "garment_2"], []),
    "IMAGDressingPasteBack": (["original", "generated", "mask", "feather", "match_color"], []),
    "IMAGDressingConvertCheckpoint": (["model_name", "dtype"], []),
}
