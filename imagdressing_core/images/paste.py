"""Putting the generated part back into the original image, so that nothing outside the mask changes."""

import numpy
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import IMAGDressingError, require_between
from .garment_mask import FAINTEST

SMALLEST_DEVIATION = 1e-4
WIDEST_FEATHER = 256


def paste_back(original: Tensor, generated: Tensor, mask: Tensor, feather: int, match_color: bool) -> Tensor:
    """Return ``original`` with ``generated`` where ``mask`` is, (batch, height, width, 3), 0 … 1.

    Every pixel outside the mask stays exactly as it was. Batches of one are repeated.

    Args:
        original, generated: (batch, height, width, 3 or 4), 0 … 1; generated and mask are resized to the original.
        mask: (batch, height, width), 1 = generated.
        feather: width in pixels, 0 … 256, inside the mask, over which the original fades into the generated image.
        match_color: give the generated image the mean and deviation of colour that the original has outside the mask,
            where both show the same scene.

    Raises:
        IMAGDressingError: another rank, NaN, batches that do not go together, or a feather out of range.
    """
    require_between("feather", feather, 0, WIDEST_FEATHER)
    require_batches(mask, original=original, generated=generated)
    batch = max(len(original), len(generated), len(mask))
    original, generated = original.float(), generated.float()  # half cannot be resized everywhere
    original = original[..., :3].expand(batch, -1, -1, -1)
    size = original.shape[1:3]
    generated = resized(generated[..., :3].movedim(-1, 1), size, "bicubic").clamp(0, 1).movedim(1, -1)
    generated = generated.to(original).expand(batch, -1, -1, -1)
    mask = mask_resized(mask, size).to(original).expand(batch, -1, -1)
    if match_color:
        generated = torch.stack([_matched(*three) for three in zip(generated, original, mask, strict=True)])
    share = torch.stack([feathered(one, feather) for one in mask]).unsqueeze(-1)
    return torch.where(share > 0, original + share * (generated - original), original)


def feathered(mask: Tensor, feather: int) -> Tensor:
    """Return a mask (height, width) that rises from 0 at its edge to 1 at ``feather`` pixels inside it."""
    if feather == 0:
        return mask
    image = Image.fromarray((mask.float().cpu() * 255).round().to(torch.uint8).numpy())
    blurred = numpy.array(image.filter(ImageFilter.GaussianBlur(feather / 2)))
    inside = (2 * torch.from_numpy(blurred).to(mask) / 255 - 1).clamp(0, 1)  # the edge itself blurs to one half
    return torch.minimum(mask, inside)


def _matched(generated: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    """Return one generated image (height, width, 3) with the colours that the original has outside the mask."""
    outside = mask == 0
    if not _shows_colours(mask):
        return generated
    ours, theirs = generated[outside], original[outside]  # (pixels, 3)
    scale = theirs.std(0) / ours.std(0).clamp_min(SMALLEST_DEVIATION)
    return ((generated - ours.mean(0)) * scale + theirs.mean(0)).clamp(0, 1)


def _shows_colours(mask: Tensor) -> bool:
    """Return whether a mask (height, width) leaves enough of the image out to measure its colours there."""
    return int((mask == 0).sum()) >= 2


def paste_doubts(mask: Tensor, feather: int, match_color: bool) -> list[str]:
    """Return warnings about what :func:`paste_back` could not do as it was asked to.

    mask: (batch, height, width) at the original's size. The others are its arguments.
    """
    doubts: list[str] = []
    if feather and any(float(one.max()) >= FAINTEST and not bool(feathered(one, feather).any()) for one in mask):
        doubts.append(
            f"Nothing of the generated image shows: the mask is too narrow or too dark for a soft edge of "
            f"{feather} pixels. Take a smaller feather or a larger mask."
        )
    if match_color and not all(_shows_colours(one) for one in mask):
        doubts.append(
            "match_color changes nothing: it measures the colours outside the mask, and the mask leaves nothing out. "
            "Take a smaller mask, or a larger margin in Crop to Mask."
        )
    return doubts


def mask_resized(masks: Tensor, size: torch.Size) -> Tensor:
    """Return masks (batch, height, width), 0 … 1, at another (height, width)."""
    return resized(masks.float().unsqueeze(1), size, "bilinear")[:, 0].clamp(0, 1)


def resized(batch: Tensor, size: torch.Size, mode: str) -> Tensor:
    """Return (batch, channels, height, width) at another (height, width)."""
    if batch.shape[-2:] == size:
        return batch
    return interpolate(batch, tuple(size), mode=mode, antialias=True)


def require_batches(mask: Tensor, **images: Tensor) -> None:
    """Raise IMAGDressingError unless masks (batch, height, width) and images, by their sockets' names, go together."""
    for name, batch in images.items():
        if batch.ndim != 4 or batch.shape[-1] not in (3, 4) or not batch.numel():
            raise IMAGDressingError(
                f"{name} must be a batch of colour images (batch, height, width, 3), found {tuple(batch.shape)}."
            )
    if mask.ndim != 3 or not mask.numel():
        raise IMAGDressingError(f"mask must be (batch, height, width), found {tuple(mask.shape)}.")
    batches = images | {"mask": mask}
    for name, values in batches.items():
        if not bool(torch.isfinite(values).all()):
            raise IMAGDressingError(f"{name} holds NaN or infinite values: look at the node that makes it.")
    if len({len(values) for values in batches.values()} - {1}) > 1:
        found = ", ".join(f"{len(values)} in {name}" for name, values in batches.items())
        raise IMAGDressingError(f"The batches do not go together: {found}. Give one, or as many as the largest has.")
