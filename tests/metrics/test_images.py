"""Reading images and masks: whatever the file holds, it is RGB, a mask, or a named reason."""

from pathlib import Path

import numpy
import pytest
from PIL import Image

from imagdressing_core.metrics.images import read_image, read_mask
from imagdressing_core.metrics.outcome import NoScore


def noise(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(0).integers(0, 256, shape, numpy.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK"])
def test_every_common_kind_of_image_becomes_rgb(tmp_path: Path, mode: str):
    image = Image.fromarray(noise(20, 30, 3)).convert(mode)
    image.save(tmp_path / "image.tiff")
    assert numpy.array_equal(read_image(tmp_path / "image.tiff"), numpy.array(image.convert("RGB")))


def test_what_is_transparent_is_white(tmp_path: Path):
    pixels = noise(20, 30, 4)
    pixels[..., 3] = 0
    pixels[5, 5, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    read = read_image(tmp_path / "image.png")
    assert numpy.array_equal(read[5, 5], pixels[5, 5, :3])
    assert (read.reshape(-1, 3) == 255).all(1).sum() == 20 * 30 - 1


def test_a_turned_photograph_is_turned_back(tmp_path: Path):
    image = Image.fromarray(noise(20, 30, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "image.png", exif=exif)
    assert read_image(tmp_path / "image.png").shape == (30, 20, 3)


def test_a_mask_is_what_is_lighter_than_mid_grey(tmp_path: Path):
    grey = numpy.zeros((16, 16), numpy.uint8)
    grey[0, :3] = (127, 128, 255)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == bool
    assert mask[0, :4].tolist() == [False, True, True, False]
    assert mask.sum() == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing file"),
        (b"", "unreadable file"),
        (b"not an image", "unreadable file"),
        ("cut off", "unreadable file"),
        ("floating point", "not an image of 8 bits a channel"),
        ("16 bits", "not an image of 8 bits a channel"),
        ("tiny", "image too small"),
    ],
)
def test_what_is_no_image_has_a_named_reason(tmp_path: Path, content: bytes | str | None, reason: str):
    path = tmp_path / "image.tiff"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut off":
        Image.fromarray(noise(64, 64, 3)).save(path, "PNG")
        path.write_bytes(path.read_bytes()[:2000])
    elif content == "floating point":
        Image.fromarray(numpy.full((20, 20), numpy.nan, numpy.float32)).save(path)
    elif content == "16 bits":
        Image.fromarray(numpy.zeros((20, 20), numpy.uint16)).save(path)
    elif content == "tiny":
        Image.fromarray(noise(20, 8, 3)).save(path)
    for read in (read_image, read_mask):
        with pytest.raises(NoScore) as error:
            read(path)
        assert error.value.reason == reason
        assert str(path) in error.value.detail


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path):
    with pytest.raises(NoScore, match="missing file"):
        read_image(tmp_path / ("a" * 300 + ".png"))


def test_a_masks_transparent_parts_are_no_garment(tmp_path: Path):
    pixels = numpy.full((20, 30, 4), 255, numpy.uint8)
    pixels[5:, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").sum() == 5 * 30


def test_a_folder_is_no_image(tmp_path: Path):
    with pytest.raises(NoScore, match="missing file"):
        read_image(tmp_path)
