"""Image files as every part of the project sees them: upright, and on white where they are transparent."""

from PIL import Image, ImageOps


def upright_on_white(file: Image.Image) -> Image.Image:
    """Return an opened image in RGB, turned as its EXIF entry says, its transparent parts on white."""
    image = ImageOps.exif_transpose(file).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
