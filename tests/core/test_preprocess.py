"""The garment's image path: what the VAE and CLIP see, and what is refused."""

import math
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.images.preprocess import (
    CLIP_SIZE,
    FITS,
    fit_mask,
    fit_official,
    fit_squash,
    images_from_tensor,
    preview,
    tensor_from_images,
    thumbnail,
)

REFERENCE = Path(__file__).parents[1] / "reference"
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    reference = reference.double()
    return float((ours.double() - reference).norm() / reference.norm())


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(4))


def coloured(width: int, height: int) -> Image.Image:
    """An image that is red at the left, blue at the right, brighter towards the bottom."""
    x = numpy.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = numpy.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(numpy.stack((255 - x, y, x), axis=-1).astype("uint8"))


def test_the_official_fit_is_the_official_image_path():
    reference = load_file(REFERENCE / "garment_picture.safetensors")
    fitted = fit_official(Image.open(REFERENCE / "garment.png").convert("RGB"), 512, 640)
    vae = tensor_from_images([fitted.vae]) * 2 - 1
    clip = (tensor_from_images([fitted.clip]) - CLIP_MEAN) / CLIP_STD
    assert relative_error(vae.movedim(-1, 1), reference["vae_pixels"]) <= 2e-3
    assert relative_error(clip.movedim(-1, 1), reference["clip_pixels"]) <= 2e-3


@pytest.mark.parametrize(
    ("size", "official"),
    [((768, 1024), (448, 640)), ((1024, 1024), (640, 640)), ((1000, 500), (640, 320)), ((512, 640), (512, 640))],
    ids=str,
)
def test_clip_sees_the_official_resizes_centre(size: tuple[int, int], official: tuple[int, int]):
    short, long = 512, 640
    first = [round(short / min(size) * side) for side in size]
    second = [round(long / max(first) * side) for side in first]
    floored = (second[0] // 64 * 64, second[1] // 64 * 64)
    assert floored == official
    kept = coloured(*size).resize((second[0], second[1]), Image.Resampling.BILINEAR)
    kept = kept.resize(floored, Image.Resampling.BILINEAR)
    fitted = fit_official(coloured(*size), 512, 640)
    assert fitted.vae.tobytes() == kept.resize((512, 640), Image.Resampling.BILINEAR).tobytes()
    scale = CLIP_SIZE / min(official)
    width, height = (int(scale * side) for side in official)
    left, top = (width - CLIP_SIZE) // 2, (height - CLIP_SIZE) // 2
    centre = kept.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    assert fitted.clip.tobytes() == centre.tobytes()


@pytest.mark.parametrize("fit", [*FITS.values(), fit_squash])
@pytest.mark.parametrize("size", [(16, 16), (16, 2000), (2000, 16), (640, 512)], ids=str)
def test_every_fit_gives_the_asked_sizes(fit: object, size: tuple[int, int]):
    fitted = fit(coloured(*size), 96, 128)  # pyright: ignore[reportCallIssue]
    assert (fitted.vae.size, fitted.clip.size) == ((96, 128), (CLIP_SIZE, CLIP_SIZE))


def test_pad_keeps_the_whole_image_on_white():
    fitted = FITS["pad"](Image.new("RGB", (400, 100), "red"), 128, 128)
    for seen in (fitted.vae, fitted.clip):
        middle = seen.width // 2
        assert seen.getpixel((middle, 2)) == (255, 255, 255)
        assert [seen.getpixel((x, middle)) for x in (2, seen.width - 3)] == [(255, 0, 0)] * 2


def test_crop_fills_and_distorts_nothing():
    image = Image.new("RGB", (400, 100), "red")
    image.paste("blue", (150, 0, 250, 100))
    seen = FITS["crop"](image, 128, 128).vae
    assert {seen.getpixel((x, y)) for x in (3, 124) for y in (3, 124)} == {(0, 0, 255)}


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_every_kind_of_image_becomes_rgb_on_white(channels: int, mode: str):
    images = noise(2, 20, 30, channels)
    pixels = (images[1].squeeze(-1) * 255).round().to(torch.uint8).numpy()
    paper = Image.new("RGBA", (30, 20), "white")
    paper.alpha_composite(Image.fromarray(pixels, mode).convert("RGBA"))
    first, second = images_from_tensor(images)
    assert (first.mode, first.size) == ("RGB", (30, 20))
    difference = numpy.abs(numpy.array(second).astype(int) - numpy.array(paper.convert("RGB")).astype(int))
    assert difference.max() <= 1


@pytest.mark.parametrize(("background", "colour"), [("white", (255,) * 3), ("grey", (128,) * 3)])
def test_outside_its_mask_an_image_is_background(background: str, colour: tuple[int, ...]):
    mask = torch.zeros(1, 20, 20)
    mask[:, :5] = 1
    images = noise(1, 20, 20, 3)
    (image,) = images_from_tensor(images, mask, background)  # pyright: ignore[reportArgumentType]
    pixels = numpy.array(image)
    assert (pixels[5:] == colour).all()
    assert (pixels[:5] == (images[0, :5] * 255).round().numpy()).all()


def test_a_mask_of_another_size_is_resized():
    images = torch.zeros(1, 40, 40, 3)
    mask = torch.zeros(1, 4, 4)
    mask[:, :, :2] = 1
    (image,) = images_from_tensor(images, mask)
    assert image.getpixel((5, 20)) == (0, 0, 0)
    assert image.getpixel((35, 20)) == (255, 255, 255)


def test_one_mask_serves_every_image_and_several_serve_their_own():
    images, one = torch.zeros(2, 16, 16, 3), torch.ones(1, 16, 16)
    assert [p.getpixel((0, 0)) for p in images_from_tensor(images, one)] == [(0, 0, 0)] * 2
    masks = torch.stack((one[0], one[0].clone()))
    masks[1, :8] = 0
    assert [p.getpixel((0, 0)) for p in images_from_tensor(images, masks)] == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(16, 16, 3), r"found \(16, 16, 3\)"),
        (torch.zeros(1, 16, 16, 5), r"found \(1, 16, 16, 5\)"),
        (torch.zeros(0, 16, 16, 3), r"found \(0, 16, 16, 3\)"),
        (torch.zeros(1, 15, 40, 3), "40 × 15 pixels; a garment image needs at least 16"),
        (torch.full((1, 16, 16, 3), math.nan), "NaN or infinite"),
        (torch.full((1, 16, 16, 3), math.inf), "NaN or infinite"),
    ],
    ids=["rank", "channels", "none", "small", "nan", "infinite"],
)
def test_what_is_no_image_is_refused(images: torch.Tensor, message: str):
    with pytest.raises(IMAGDressingError, match=message):
        images_from_tensor(images)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(1, 16, 16, 1), "mask must be"),
        (torch.ones(3, 16, 16), "mask has 3 masks for 2 images"),
        (torch.full((1, 16, 16), math.nan), "mask holds NaN"),
        (torch.stack((torch.ones(16, 16), torch.zeros(16, 16))), "mask 2 of 2 is empty"),
    ],
    ids=["rank", "number", "nan", "empty"],
)
def test_what_is_no_mask_is_refused(masks: torch.Tensor, message: str):
    with pytest.raises(IMAGDressingError, match=message):
        images_from_tensor(torch.zeros(2, 16, 16, 3), masks)


@pytest.mark.parametrize("fit", list(FITS))
def test_a_mask_follows_its_image(fit: str):
    mask = torch.zeros(100, 200)
    mask[20:80, 50:150] = 1
    image = Image.fromarray((mask * 255).to(torch.uint8).numpy()).convert("RGB")
    paper = FITS[fit](Image.eval(image, lambda value: 255 - value), 128, 96).vae
    expected = 1 - torch.from_numpy(numpy.array(paper.convert("L"))).float() / 255
    torch.testing.assert_close(fit_mask(mask, (200, 100), fit, 128, 96), expected, rtol=0, atol=1e-6)


def test_padding_is_background_for_the_mask_too():
    assert fit_mask(torch.ones(50, 200), (200, 50), "pad", 128, 128)[0].tolist() == [0.0] * 128


def test_a_thumbnail_is_small_and_keeps_its_proportions():
    assert tuple(thumbnail(coloured(640, 320)).shape) == (64, 128, 3)


@pytest.mark.parametrize(
    ("fit", "size", "box"),
    [
        ("official", (200, 100), (0.25, 0.0, 0.75, 1.0)),
        ("official", (300, 400), (0.0, 0.15, 1.0, 0.85)),
        ("official", (100, 100), (0.0, 0.0, 1.0, 1.0)),
        ("pad", (100, 200), (0.0, 0.0, 1.0, 1.0)),
        ("crop", (100, 200), (0.0, 0.1, 1.0, 0.9)),
    ],
)
def test_the_clip_box_is_the_part_that_clip_sees(fit: str, size: tuple[int, int], box: tuple[float, ...]):
    fitted = FITS[fit](Image.new("RGB", size, "navy"), 512, 640)
    assert fitted.clip_box == pytest.approx(box)


def test_the_preview_dims_what_clip_loses_and_shows_what_it_sees():
    tall = Image.new("RGB", (300, 600), "white")
    shown = preview(FITS["crop"](tall, 64, 128))
    assert shown.height == 128 and shown.width > 64
    pixels = numpy.array(shown)
    assert pixels[4, 32].max() < 120
    assert pixels[64, 32].min() > 240
    assert preview(FITS["crop"](tall, 64, 128), with_clip=False).size == (64, 128)
