"""Messages about files that are not the checkpoint they should be: what they are, and what to do."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import shown
from .official_files import GARMENT, HUB
from .pickled import NotPlain

OFFICIAL_NAME = GARMENT.name
OFFICIAL_SOURCE = f"{HUB.removeprefix('https://')}/{GARMENT.repository}"
_SIZES = " or ".join(f"{known.nbytes:,} bytes ({known.when})" for known in GARMENT.published)
DOWNLOAD_AGAIN = f"Download {OFFICIAL_NAME} again from {OFFICIAL_SOURCE}: the whole file has {_SIZES}."


@dataclass(frozen=True)
class ForeignFile:
    """A kind of file that people load by mistake: its name, its folder below ``models``, parts of its keys."""

    what: str
    folder: str
    markers: tuple[str, ...]


# The most particular first: a FaceID IP-Adapter holds LoRA layers, an SDXL checkpoint holds a diffusion model.
FOREIGN_FILES = (
    ForeignFile(
        "MagicClothing's projections, which garment_extractor.safetensors loads from beside it",
        "imagdressing",
        ("0.to_k_ip.weight",),
    ),
    ForeignFile("an IP-Adapter", "ipadapter", ("image_proj.", "ip_adapter.")),
    ForeignFile("a LoRA", "loras", ("lora_unet_", "lora_te_", ".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.")),
    ForeignFile("a ControlNet", "controlnet", ("control_model.", "controlnet_cond_embedding.", "controlnet_down_")),
    ForeignFile("an SDXL checkpoint", "checkpoints", ("conditioner.embedders.", "add_embedding.")),
    ForeignFile("a Stable Diffusion checkpoint", "checkpoints", ("model.diffusion_model.", "cond_stage_model.")),
    ForeignFile("a CLIP vision model", "clip_vision", ("vision_model.", "visual.transformer.")),
    ForeignFile("a text encoder", "text_encoders", ("text_model.",)),
    ForeignFile("a VAE", "vae", ("first_stage_model.", "decoder.up", "decoder.mid")),
    ForeignFile("a bare U-Net", "diffusion_models", ("conv_in.weight", "input_blocks.0.0.weight")),
)


def foreign_file(keys: Collection[str]) -> ForeignFile | None:
    """Return the kind of a file without IMAGDressing's tensors, judged by its keys; None for an unknown one."""
    return next((kind for kind in FOREIGN_FILES if any(marker in key for key in keys for marker in kind.markers)), None)


def describe_foreign(path: Path, keys: Iterable[str]) -> str:
    """Say what a readable file without IMAGDressing's tensors is, judged by its keys."""
    keys = list(keys)
    advice = f"Choose {OFFICIAL_NAME} ({OFFICIAL_SOURCE}) or a file converted from it."
    foreign = foreign_file(keys)
    if foreign is not None:
        return (
            f"{path.name} is {foreign.what}, not an IMAGDressing checkpoint. {advice} "
            f"This file belongs in models/{foreign.folder}."
        )
    found = f"the first of its {len(keys)} entries is {shown(keys[0])}" if keys else "it has no entries"
    return f"{path.name} is not an IMAGDressing checkpoint: {found}. {advice}"


def describe_unreadable(path: Path, error: Exception, remedy: str = DOWNLOAD_AGAIN) -> str:
    """Say why a file could not be opened: empty, a pointer, a web page, code inside, or incomplete.

    Args:
        path: The file.
        error: What opening it raised.
        remedy: The advice where the file itself is at fault.
    """
    if isinstance(error, NotPlain):
        return (
            f"{path.name} was refused: {shown(error)}. Nothing in it was executed. "
            f"Do not use this file; get {OFFICIAL_NAME} from {OFFICIAL_SOURCE}."
        )
    try:
        state = _state(path)
    except OSError as unread:
        return f"{path.name} cannot be read ({shown(unread)}). Look at its permissions, and at the disk it is on."
    return f"{path.name} {state}. {remedy}"


def _state(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if size == 0:
        return "is empty (0 bytes)"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, a note of where the file is, not the file itself"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page saved under this name"
    return f"is damaged, incomplete or something else ({size:,} bytes found)"
