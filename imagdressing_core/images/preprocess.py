"""Garment image → what the VAE and CLIP see of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy
import torch
from PIL import Image, ImageDraw, ImageOps
from PIL.Image import Resampling
from torch import Tensor

from ..errors import IMAGDressingError
from .garment_mask import FAINTEST

CLIP_SIZE = 224
# Official resize_img(max_side=640, min_side=512, base_pixel_number=64), for its 512 × 640 garment.
OFFICIAL_WIDTH, OFFICIAL_HEIGHT = 512, 640
OFFICIAL_MULTIPLE = 64
SMALLEST_SIDE = 16
BRIGHTEST = 2.0  # mean of an image; those of a wide dynamic range have single values far above 1
# The official IMAGDressing code fills no background; white is that of product images. The official MagicClothing code
# fills with 0 in −1 … 1, mid grey.
Background = Literal["white", "grey"]
THUMBNAIL_SIZE = 128
NODE_GREY = "#353535"  # of the editor's nodes: black beside the small image would look like a part that failed


@dataclass(frozen=True)
class FittedImage:
    """One garment image twice: ``vae`` at the garment's size, ``clip`` at 224 × 224, both RGB.

    clip_box: the part of ``vae`` that CLIP sees, (left, top, right, bottom), 0 … 1.
    """

    vae: Image.Image
    clip: Image.Image
    clip_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


def fit_official(image: Image.Image, width: int, height: int) -> FittedImage:
    """Fit as the official pipelines do: keep the aspect for CLIP, squash to ``width`` × ``height`` for the VAE.

    CLIP sees the centre square only, so the top and bottom of a tall garment are lost to it.
    Source: official resize_img, then torchvision's Resize and transformers' CLIPImageProcessor.
    """
    kept = _official_resize(image, short=min(width, height), long=max(width, height))
    return FittedImage(kept.resize((width, height), Resampling.BILINEAR), _clip_centre(kept), _centre_box(kept))


def fit_pad(image: Image.Image, width: int, height: int) -> FittedImage:
    """Fit the whole garment, undistorted, on white: nothing is cut, neither for the VAE nor for CLIP."""
    return FittedImage(
        vae=ImageOps.pad(image, (width, height), Resampling.BICUBIC, color="white"),
        clip=ImageOps.pad(image, (CLIP_SIZE, CLIP_SIZE), Resampling.BICUBIC, color="white"),
    )


def fit_crop(image: Image.Image, width: int, height: int) -> FittedImage:
    """Fill ``width`` × ``height`` with the image's middle, undistorted; CLIP sees the centre square of that."""
    filled = ImageOps.fit(image, (width, height), Resampling.BICUBIC)
    return FittedImage(filled, _clip_centre(filled), _centre_box(filled))


def fit_squash(image: Image.Image, width: int, height: int) -> FittedImage:
    """Fit as the official MagicClothing does: straight to ``width`` × ``height``; CLIP has no part in it."""
    squashed = image.resize((width, height), Resampling.LANCZOS)
    return FittedImage(squashed, _clip_centre(squashed), _centre_box(squashed))


FITS: dict[str, Callable[[Image.Image, int, int], FittedImage]] = {
    "official": fit_official,
    "pad": fit_pad,
    "crop": fit_crop,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a method prepares a garment image for its models.

    background: the colour that replaces transparent parts and everything outside the mask.
    fits: functions that bring an image to size, by the option's name.
    clip_sees_it: whether CLIP's image encoder sees the garment too, or the VAE alone.
    """

    background: Background
    fits: Mapping[str, Callable[[Image.Image, int, int], FittedImage]]
    clip_sees_it: bool


IMAGDRESSING = Preprocessing(background="white", fits=FITS, clip_sees_it=True)


def fit_mask(mask: Tensor, size: tuple[int, int], fit: str, width: int, height: int) -> Tensor:
    """Bring one garment mask (height', width') to what the VAE sees, as ``fit`` does with the image.

    size: (width, height) of the image that the mask belongs to. What is added around the image is background.
    """
    background = ImageOps.invert(_mask_image(mask).resize(size, Resampling.BILINEAR)).convert("RGB")
    fitted = ImageOps.invert(FITS[fit](background, width, height).vae.convert("L"))
    return torch.from_numpy(numpy.array(fitted)).float() / 255


def preview(fitted: FittedImage, with_clip: bool = True) -> Image.Image:
    """Return the VAE's image with CLIP's beside it. In the first, a frame shows CLIP's part, and the rest is dimmed."""
    seen = fitted.vae
    if not with_clip:
        return seen
    width, height = seen.size
    left, top, right, bottom = (
        round(part * side) for part, side in zip(fitted.clip_box, (width, height) * 2, strict=True)
    )
    inside = Image.new("L", seen.size, 90)
    ImageDraw.Draw(inside).rectangle((left, top, right, bottom), fill=255)
    shown = Image.composite(seen, Image.new("RGB", seen.size, "black"), inside)
    line = max(2, width // 128)
    ImageDraw.Draw(shown).rectangle((left, top, right - 1, bottom - 1), outline="#ff3b6b", width=line)
    side = min(width, height) // 2
    sheet = Image.new("RGB", (width + line + side, height), NODE_GREY)
    sheet.paste(shown, (0, 0))
    sheet.paste(fitted.clip.resize((side, side), Resampling.BICUBIC), (width + line, 0))
    return sheet


def thumbnail(image: Image.Image) -> Tensor:
    """Return a small copy of an RGB image, (height, width, 3) in uint8, at most 128 pixels on each side."""
    return torch.from_numpy(numpy.array(ImageOps.contain(image, (THUMBNAIL_SIZE, THUMBNAIL_SIZE))))


def images_from_tensor(
    pixels: Tensor, masks: Tensor | None = None, background: Background = "white"
) -> list[Image.Image]:
    """Turn a batch of images into RGB, with ``background`` where one is transparent or outside its mask.

    pixels: (batch, height, width, channels), 0 … 1; channels 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
    masks: (batch or 1, height, width), 1 = garment; resized where its size differs. ``None`` keeps the background.

    Raises:
        IMAGDressingError: another rank or channel count, a side under 16 pixels, NaN, an empty mask, or the number of
            masks is neither 1 nor the number of images.
    """
    _require_images(pixels)
    if masks is not None:
        _require_masks(masks, len(pixels))
        masks = masks.expand(len(pixels), -1, -1)
    return [_on_background(one, None if masks is None else masks[i], background) for i, one in enumerate(pixels)]


def tensor_from_images(images: list[Image.Image]) -> Tensor:
    """Return RGB images of one size as (batch, height, width, 3), 0 … 1."""
    return torch.stack([torch.from_numpy(numpy.array(image)) for image in images]).float() / 255


def _official_resize(image: Image.Image, short: int, long: int) -> Image.Image:
    """Scale the short side to ``short``, then the long side to ``long``, then cut both to a multiple of 64."""
    scale = short / min(image.size)
    sides = [round(scale * side) for side in image.size]
    scale = long / max(sides)
    sides = [max(1, round(scale * side)) for side in sides]
    floored = [max(OFFICIAL_MULTIPLE, side // OFFICIAL_MULTIPLE * OFFICIAL_MULTIPLE) for side in sides]
    return image.resize((sides[0], sides[1]), Resampling.BILINEAR).resize((floored[0], floored[1]), Resampling.BILINEAR)


def _clip_centre(image: Image.Image) -> Image.Image:
    """Scale the short side to 224 and cut the centre square, as CLIPImageProcessor does."""
    scale = CLIP_SIZE / min(image.size)
    width, height = (max(CLIP_SIZE, int(scale * side)) for side in image.size)
    left, top = (width - CLIP_SIZE) // 2, (height - CLIP_SIZE) // 2
    resized = image.resize((width, height), Resampling.BICUBIC)
    return resized.crop((left, top, left + CLIP_SIZE, top + CLIP_SIZE))


def _centre_box(image: Image.Image) -> tuple[float, float, float, float]:
    """Return the centre square of an image, as parts of its sides."""
    side = min(image.size)
    left, top = ((1 - side / whole) / 2 for whole in image.size)
    return left, top, 1 - left, 1 - top


def _on_background(tensor: Tensor, mask: Tensor | None, background: Background) -> Image.Image:
    """Compose one image (height, width, channels) on a colour, by its own alpha and by the mask (height', width')."""
    pixels = (tensor.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    channels = pixels.shape[-1]
    colour = _image(pixels[..., :3] if channels >= 3 else pixels[..., 0]).convert("RGB")
    paper = Image.new("RGB", colour.size, background)
    if channels in (2, 4):
        colour = Image.composite(colour, paper, _image(pixels[..., -1]))
    if mask is not None:
        colour = Image.composite(colour, paper, _mask_image(mask).resize(colour.size, Resampling.BILINEAR))
    return colour


def _mask_image(mask: Tensor) -> Image.Image:
    return _image((mask.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())


def _image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.contiguous().numpy())


def _require_images(pixels: Tensor) -> None:
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 2, 3, 4) or len(pixels) == 0:
        raise IMAGDressingError(
            f"image must be a batch of images (batch, height, width, 1 to 4 channels), found {tuple(pixels.shape)}. "
            "Connect the IMAGE output of a node such as Load Image."
        )
    height, width = pixels.shape[1:3]
    if min(height, width) < SMALLEST_SIDE:
        raise IMAGDressingError(
            f"image is {width} × {height} pixels; a garment image needs at least {SMALLEST_SIDE} on each side."
        )
    if not bool(torch.isfinite(pixels).all()):
        raise IMAGDressingError("image holds NaN or infinite values: the node that made it is at fault; look there.")
    if not pixels.is_floating_point() or float(pixels.float().mean()) > BRIGHTEST:
        raise IMAGDressingError(
            "image goes from 0 to 255, and ComfyUI's images go from 0 to 1: all of it would be white. The node that "
            "made it is at fault; look there."
        )


def _require_masks(masks: Tensor, count: int) -> None:
    if masks.ndim != 3 or min(masks.shape) == 0:
        raise IMAGDressingError(f"mask must be (batch, height, width), found {tuple(masks.shape)}.")
    if len(masks) not in (1, count):
        raise IMAGDressingError(f"mask has {len(masks)} masks for {count} images; give one, or one for each.")
    if not bool(torch.isfinite(masks).all()):
        raise IMAGDressingError("mask holds NaN or infinite values: the node that made it is at fault; look there.")
    empty = [i for i, mask in enumerate(masks) if float(mask.max()) < FAINTEST]
    if empty:
        raise IMAGDressingError(
            f"mask {empty[0] + 1} of {len(masks)} is empty: it marks no garment at all. White marks the garment; "
            "if yours is the other way round, invert it (Load Image's MASK output is white where the image is clear)."
        )
