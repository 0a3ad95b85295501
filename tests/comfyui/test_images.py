"""Garment images of every kind through ComfyUI's Load Image: upright, in colour, on white where they are clear."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from support import comfyui_process

RED, HIDDEN = (200, 30, 30), (0, 90, 0)
WHITE = (255, 255, 255)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """ComfyUI's input folder."""
    import folder_paths

    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_input_directory(before)


def cut_out(hidden: tuple[int, int, int] = HIDDEN) -> Image.Image:
    """Return a red product on transparent surroundings, under which another colour is hidden."""
    pixels = numpy.zeros((60, 40, 4), "uint8")
    pixels[..., :3] = hidden
    pixels[15:45, 10:30] = (*RED, 255)
    return Image.fromarray(pixels)


def halves(width: int = 40, height: int = 60) -> Image.Image:
    """Return an image that is red at the top and white below."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width, height // 2))
    return image


def encoded_from(name: str, **wires: Any) -> Image.Image:
    """Return the first image that Encode Garment makes of a file, wired from Load Image as ``wires`` says."""
    encode, images = comfyui_process.pack("nodes.encode"), comfyui_process.pack("imagdressing_core.images.preprocess")
    transparency = comfyui_process.pack("nodes.comfyui.transparency")
    masks = comfyui_process.pack("imagdressing_core.images.garment_mask")
    image, mask = comfyui_process.call("LoadImage", image=name)
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "IMAGDressingEncodeGarment", "inputs": {"image": ["1", 0]}},
    }
    assert encode.EncodeGarment
    given = {None: None, "MASK": mask, "InvertMask": 1 - mask}[wires.get("mask")]
    known = transparency.transparency_of(image, prompt, "2", "image")
    found = masks.garment_mask(given, known)
    return images.images_from_tensor(image, found.masks)[0]


def nearly(found: Any, colour: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(found, colour, strict=True))


@pytest.mark.parametrize("mask", [None, "MASK", "InvertMask"])
@pytest.mark.parametrize("hidden", [(0, 0, 0), WHITE, HIDDEN], ids=str)
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif"])
def test_a_cut_out_comes_on_white_paper_however_it_is_wired(
    folder: Path, name: str, hidden: tuple[int, int, int], mask: str | None
):
    cut_out(hidden).save(folder / name, lossless=True)  # which only WebP takes note of
    found = encoded_from(name, mask=mask)
    assert all(nearly(found.getpixel(at), WHITE) for at in ((1, 1), (38, 58), (20, 3), (3, 30)))
    assert nearly(found.getpixel((20, 30)), RED)


def test_what_the_user_painted_in_the_mask_editor_stays_the_garment(folder: Path):
    painted = halves().convert("RGBA")
    painted.putalpha(Image.new("L", painted.size, 255))
    painted.paste((*RED, 0), (10, 15, 30, 30))
    painted.save(folder / "clipspace.png")
    assert nearly(encoded_from("clipspace.png").getpixel((20, 20)), RED)
    with_mask = encoded_from("clipspace.png", mask="MASK")
    assert nearly(with_mask.getpixel((20, 20)), RED)
    assert nearly(with_mask.getpixel((2, 2)), WHITE)


def saved(folder: Path, kind: str) -> str:
    image = halves()
    if kind == "EXIF":
        exif = Image.Exif()
        exif[0x0112] = 3  # the camera was upside down
        image.rotate(180).save(folder / "a.jpg", exif=exif, quality=95)
        return "a.jpg"
    name = "a.jpg" if kind == "CMYK" else "a.gif" if kind == "animated" else "a.png"
    if kind == "CMYK":
        image.convert("CMYK").save(folder / name, quality=95)
    elif kind == "palette":
        image.quantize(8).save(folder / name)
    elif kind == "animated":
        image.save(folder / name, save_all=True, append_images=[image.rotate(180)])
    else:
        image.save(folder / name)
    return name


@pytest.mark.parametrize("kind", ["plain", "EXIF", "CMYK", "palette", "animated"])
def test_an_image_comes_upright_and_in_its_colours(folder: Path, kind: str):
    found = encoded_from(saved(folder, kind))
    assert nearly(found.getpixel((20, 10)), RED)
    assert nearly(found.getpixel((20, 50)), WHITE)


def test_every_frame_of_an_animation_is_an_image_of_the_garment(folder: Path):
    images = comfyui_process.pack("imagdressing_core.images.preprocess")
    image, _ = comfyui_process.call("LoadImage", image=saved(folder, "animated"))
    assert len(images.images_from_tensor(image)) == 2


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_a_grey_image_of_8_or_16_bits_keeps_its_brightness(folder: Path, dtype: str):
    ramp = numpy.linspace(0, numpy.iinfo(dtype).max, 60)[:, None].repeat(40, 1).astype(dtype)
    Image.fromarray(ramp).save(folder / "a.png")
    found = encoded_from("a.png")
    assert nearly(found.getpixel((20, 59)), WHITE)
    assert nearly(found.getpixel((20, 30)), (130, 130, 130))
    assert nearly(found.getpixel((20, 0)), (0, 0, 0))


def test_the_mask_of_an_opaque_image_is_called_empty_even_where_a_loader_reads_it_as_one_255th(folder: Path):
    name = saved(folder, "CMYK")  # ComfyUI gives it a MASK of 1/255
    with pytest.raises(ValueError, match="mask 1 of 1 is empty"):
        encoded_from(name, mask="MASK")


def test_an_image_of_one_pixel_is_refused_with_its_size(folder: Path):
    Image.new("RGB", (1, 1)).save(folder / "a.png")
    with pytest.raises(ValueError, match="1 × 1 pixels; a garment image needs at least 16"):
        encoded_from("a.png")


def test_an_image_of_100_megapixels_is_taken_and_brought_to_size(folder: Path):
    images = comfyui_process.pack("imagdressing_core.images.preprocess")
    halves(10_000, 10_000).save(folder / "a.png", compress_level=1)
    fitted = images.FITS["pad"](encoded_from("a.png"), 512, 640)
    assert (fitted.vae.size, fitted.clip.size) == ((512, 640), (224, 224))
    assert nearly(fitted.vae.getpixel((256, 200)), RED)


def test_nothing_is_made_up_where_the_image_comes_from_another_node():
    transparency = comfyui_process.pack("nodes.comfyui.transparency").transparency_of
    image = torch.zeros(1, 20, 20, 3)
    scaled = {"1": {"class_type": "ImageScale", "inputs": {"image": ["0", 0]}}, "2": {"inputs": {"image": ["1", 0]}}}
    for prompt in (None, {}, scaled, {"2": {"inputs": {"image": "text"}}}, {"2": {"inputs": {"image": ["9", 0]}}}):
        assert transparency(image, prompt, "2", "image") is None
