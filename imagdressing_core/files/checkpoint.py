"""Official checkpoint files: read without running code in them, judged before use, converted."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import IMAGDressingError
from ..model import magic_clothing
from ..model.garment_unet import Progress
from ..model.hybrid_attention import GarmentProjections
from ..model.qformer import QFormer
from .diagnosis import OFFICIAL_NAME, OFFICIAL_SOURCE, describe_foreign
from .sd15_shapes import unet_shapes
from .storage import save_whole
from .weights import Weights, misfits, open_weights

# Prefixes inside the official file (official inference_IMAGdressing.py, its loading loop).
GARMENT_UNET = "ref_unet."
QFORMER = "proj."
PROJECTIONS = "adapter_modules."
FROZEN_UNET = "unet."  # a copy of SD1.5 that the official files carry and nothing loads
WRAPPING = "module."  # left over when a generic converter flattens the nested file

FILE_SUFFIXES = (".pt", ".safetensors", ".bin", ".ckpt", ".pth")
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Checkpoint:
    """The trained parts of a checkpoint; keys as in the official file, without the part's prefix.

    If the file was mapped into memory, the tensors are views of it, and it is in use as long as one of them lives.
    Modules that copy the tensors release it. ComfyUI's dynamic VRAM does not copy: there the garment U-Net's weights
    are the mapped file as long as the model is loaded, and on Windows it can be neither replaced nor deleted meanwhile.

    Attributes:
        variant: The name of the file's layout, for the user.
        qformer: Empty for MagicClothing, whose garment U-Net reads the empty prompt instead.
        projections: Empty for MagicClothing, which uses the denoising U-Net's own, except for its "stable" form.
    """

    path: Path
    variant: str
    garment_unet: Weights
    qformer: Weights
    projections: Weights

    @property
    def tensors(self) -> Weights:
        """All parts under their official keys."""
        return (
            {GARMENT_UNET + key: tensor for key, tensor in self.garment_unet.items()}
            | {QFORMER + key: tensor for key, tensor in self.qformer.items()}
            | {PROJECTIONS + key: tensor for key, tensor in self.projections.items()}
        )

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def fingerprint(self) -> str:
        """Sha256 of the garment projections as stored, or of the middle block: enough to tell trainings apart."""
        middle = {key: tensor for key, tensor in self.garment_unet.items() if key.startswith("mid_block.")}
        digest = hashlib.sha256()
        for _, tensor in sorted((self.projections or middle).items()):
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.garment_unet.values())).dtype


def read_checkpoint(path: Path, progress: Progress | None = None, mapped: bool = True) -> Checkpoint:
    """Read the trained parts of an official ``.pt`` (either published variant) or a converted ``.safetensors``.

    Also MagicClothing's files: a bare garment U-Net, or ``garment_extractor`` with ``ip_layer.pth`` beside it.
    The frozen ``unet.*`` copy stays on disk. With ``progress`` the parts are read from disk now, reporting bytes;
    without, when they are first used.

    Raises:
        IMAGDressingError: the file is missing, empty, truncated, carries code, is something else, or lacks, adds or
            misshapes a tensor.
    """
    variant, content = open_weights(path, mapped, wanted=lambda key: not _is_frozen(key))
    found = {key.removeprefix(WRAPPING): value for key, value in content.items() if isinstance(key, str)}
    found = {key: value for key, value in found.items() if not _is_frozen(key)}
    expected = expected_shapes()
    if magic_clothing.BARE_UNET_KEY in found:
        variant = "MagicClothing"
        found = {GARMENT_UNET + key: value for key, value in found.items()} | _stable_projections(path, mapped)
        parts = (GARMENT_UNET, PROJECTIONS) if any(key.startswith(PROJECTIONS) for key in found) else (GARMENT_UNET,)
        expected = {key: shape for key, shape in expected.items() if key.startswith(parts)}
    elif not any(key.startswith(GARMENT_UNET) for key in found):
        raise IMAGDressingError(describe_foreign(path, found))
    _require_shapes(path, found, expected)
    checkpoint = Checkpoint(path, variant, *(_part(found, prefix) for prefix in (GARMENT_UNET, QFORMER, PROJECTIONS)))
    if progress is not None:
        _read_ahead(checkpoint.tensors, progress)
    return checkpoint


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert_checkpoint` wrote; sizes in bytes."""

    path: Path
    source_bytes: int
    converted_bytes: int


def convert_checkpoint(
    source: Path, folder: Path, dtype: str = "fp16", progress: Progress | None = None, mapped: bool = True
) -> Conversion:
    """Write the trained parts of ``source`` to ``folder/<stem>_<dtype>.safetensors``: the whole file or none of it.

    Args:
        source: A checkpoint as :func:`read_checkpoint` reads it; ``progress`` and ``mapped`` are its own.
        folder: Where the new file goes.
        dtype: A key of ``DTYPES``.
        progress: Told the bytes read.
        mapped: Whether the file may be mapped into memory.

    Raises:
        IMAGDressingError: as :func:`read_checkpoint`; or the source would be written over, or the folder cannot be
            written or has no room.
    """
    target = folder / f"{source.stem.removesuffix(f'_{dtype}')}_{dtype}.safetensors"
    if target.exists() and target.samefile(source):
        raise IMAGDressingError(
            f"{source.name} is named as converted to {dtype} already, and would be written over itself. Choose another "
            "dtype or checkpoint, or rename the file first."
        )
    checkpoint = read_checkpoint(source, progress, mapped)
    if not checkpoint.qformer:
        raise IMAGDressingError(
            f"{source.name} is MagicClothing's, which holds nothing that is not used: use it as it is."
        )
    tensors = {key: tensor.to(DTYPES[dtype]).contiguous() for key, tensor in checkpoint.tensors.items()}
    save_whole(tensors, target, {"imagdressing.source": source.name, "imagdressing.version": __version__})
    return Conversion(target, source.stat().st_size, target.stat().st_size)


def _is_frozen(key: str) -> bool:
    """Return whether the frozen copy of SD1.5 holds this tensor."""
    return key.removeprefix(WRAPPING).startswith(FROZEN_UNET)


def _part(found: Mapping[str, Any], prefix: str) -> Weights:
    return {key.removeprefix(prefix): value.detach() for key, value in found.items() if key.startswith(prefix)}


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of a whole checkpoint under their official keys, name to shape."""
    with torch.device("meta"):
        qformer, projections = QFormer().state_dict(), GarmentProjections().state_dict()
    return (
        {GARMENT_UNET + key: shape for key, shape in unet_shapes().items()}
        | {QFORMER + key: tuple(tensor.shape) for key, tensor in qformer.items()}
        | {PROJECTIONS + key: tuple(tensor.shape) for key, tensor in projections.items()}
    )


def _stable_projections(path: Path, mapped: bool) -> dict[str, Any]:
    """Return MagicClothing's projections under IMAGDressing's names, where the U-Net at ``path`` needs them."""
    if not path.stem.startswith(magic_clothing.STABLE_UNET):
        return {}
    beside = path.with_name(magic_clothing.STABLE_PROJECTIONS)
    if not beside.is_file():
        raise IMAGDressingError(
            f"{path.name} needs {beside.name} beside it in {path.parent}. Get both from {magic_clothing.SOURCE}."
        )
    _, content = open_weights(beside, mapped)
    return {PROJECTIONS + key: value for key, value in magic_clothing.official_names(content).items()}


def _require_shapes(path: Path, found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    problems = misfits(found, expected)
    if problems:
        has_qformer = any(key.startswith(QFORMER) for key in expected)
        what, source = (
            ("IMAGDressing-v1", f"{OFFICIAL_NAME} from {OFFICIAL_SOURCE}")
            if has_qformer
            else ("MagicClothing", magic_clothing.SOURCE)
        )
        raise IMAGDressingError(f"{path.name} is not a whole {what} checkpoint for SD1.5: {problems}. Get {source}.")


def _read_ahead(tensors: Weights, progress: Progress) -> None:
    """Touch one byte of every page: the system reads the file at full speed and no copy is kept."""
    page = 4096
    total = sum(tensor.nbytes for tensor in tensors.values())
    done = 0
    for tensor in tensors.values():
        tensor.contiguous().view(-1).view(torch.uint8)[::page].sum()
        done += tensor.nbytes
        progress(done, total)
