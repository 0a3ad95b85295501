"""Encoding a garment image: once, before sampling."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..imagdressing_core.errors import IMAGDressingError, require_between
from ..imagdressing_core.files.sd15_shapes import CONTEXT_CHANNELS, LATENT_CHANNELS
from ..imagdressing_core.images.garment_mask import GarmentMask, garment_mask, stretched
from ..imagdressing_core.images.preprocess import (
    FITS,
    OFFICIAL_HEIGHT,
    OFFICIAL_WIDTH,
    FittedImage,
    fit_mask,
    images_from_tensor,
    preview,
    tensor_from_images,
    thumbnail,
)
from ..imagdressing_core.model.garment import PIXELS_PER_LATENT, Garment
from ..imagdressing_core.model.mask import as_masks
from ..imagdressing_core.model.qformer import CLIP_CHANNELS, CLIP_TOKENS
from .comfyui.counted import counted
from .comfyui.feedback import SAYS_AGAIN, node_id, progress_bar, remark, said, warning
from .comfyui.garment_encoder import GarmentEncoder
from .comfyui.transparency import transparency_of
from .comfyui.wires import CLIP, CLIP_VISION, ENCODER, IMAGE, MASK, VAE, require_option, require_wires
from .sockets import CATEGORY, SEARCH_ALIASES, IMAGDressingGarment, IMAGDressingModel

SMALLEST_GARMENT, LARGEST_GARMENT = 64, 2048  # pixels on a side


class EncodeGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size: dict[str, Any] = {"min": SMALLEST_GARMENT, "max": LARGEST_GARMENT, "step": PIXELS_PER_LATENT}
        return io.Schema(
            node_id="IMAGDressingEncodeGarment",
            display_name="Encode Garment",
            category=CATEGORY,
            description="Encodes a garment once; any number of images can use the result. The preview shows what the "
            "VAE sees, and a frame in it shows what CLIP sees.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                IMAGDressingModel.Input("imagdressing", tooltip="From Load IMAGDressing Model."),
                io.Vae.Input("vae", tooltip="An SD1.5 VAE; officially sd-vae-ft-mse."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="CLIP ViT-H/14, the image encoder that IP-Adapter uses for SD1.5."
                ),
                io.Image.Input(
                    "image",
                    tooltip="An image of the garment alone, flat or hanging. A batch gives several views of it. "
                    "If it comes straight from Load Image, the transparent parts of a cut-out image become white.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="official",
                    tooltip="How the image gets its size. official: as in the published code, squashed for the "
                    "VAE and cut to its centre square for CLIP. pad: whole and undistorted, on white. crop: "
                    "undistorted, its middle only.",
                ),
                io.Int.Input(
                    "width",
                    default=OFFICIAL_WIDTH,
                    **size,
                    tooltip="Width in pixels at which the garment is encoded, independent of the image you generate. "
                    "A larger width keeps finer detail and costs memory and time.",
                ),
                io.Int.Input(
                    "height",
                    default=OFFICIAL_HEIGHT,
                    **size,
                    tooltip="Height in pixels at which the garment is encoded.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White marks the garment; everything else becomes white. Load Image's MASK of a cut-out "
                    "image marks the surroundings: the node inverts a mask that fills all four corners.",
                ),
                io.Boolean.Input(
                    "drop_background",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Remove everything outside the mask from the garment: less of the background leaks into "
                    "the image, and sampling is faster. Needs a mask.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    advanced=True,
                    tooltip="Only for MagicClothing checkpoints, which read the empty prompt instead of clip_vision: "
                    "the CLIP of your SD1.5 checkpoint.",
                ),
            ],
            outputs=[
                IMAGDressingGarment.Output(
                    display_name="garment", tooltip="For Apply Garment, Save Garment and Join Garments."
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            **SAYS_AGAIN,
        )

    @classmethod
    def execute(
        cls,
        imagdressing: GarmentEncoder,
        vae: Any,
        clip_vision: Any,
        image: Tensor,
        fit: str,
        width: int,
        height: int,
        mask: Tensor | None = None,
        drop_background: bool = False,
        clip: Any = None,
    ) -> io.NodeOutput:
        require_wires(imagdressing=(imagdressing, ENCODER), image=(image, IMAGE))
        _require_sd_vae(vae)
        marked = _garment_mask(cls, image, mask)
        mask = marked.masks
        _require_mask(drop_background, mask)
        require_option("fit", fit, FITS)
        width, height = _garment_size(width, height)
        preprocessing = imagdressing.preprocessing
        originals = images_from_tensor(image, mask, preprocessing.background)
        fitted = [preprocessing.fits[fit](original, width, height) for original in originals]
        context = _clip_hidden(clip_vision, fitted) if preprocessing.clip_sees_it else _empty_prompt(clip, len(fitted))
        latents = vae.encode(tensor_from_images([one.vae for one in fitted]))
        encoded = imagdressing.encode(latents, context, fit, progress_bar())
        images = [replace(one, thumbnail=thumbnail(original)) for one, original in zip(encoded, originals, strict=True)]
        if mask is not None and drop_background:
            masks = mask.expand(len(images), -1, -1)
            images = [
                one.without_background(fit_mask(own, original.size, fit, width, height))
                for one, own, original in zip(images, masks, originals, strict=True)
            ]
        garment = Garment(tuple(images))
        count = "1 image" if len(images) == 1 else f"{len(images)} images"
        text = f"Encoded {count} at {width} × {height}: {garment.nbytes / 1e6:.0f} MB."
        shape = None if mask is None else stretched(mask, image)
        doubts = said(text, remark(marked.note), warning(shape) if shape else "")
        seen = tensor_from_images([preview(one, preprocessing.clip_sees_it) for one in fitted])
        return io.NodeOutput(counted(garment), ui=ui.PreviewImage(seen).as_dict() | doubts)


def _garment_mask(node: type[io.ComfyNode], image: Tensor, mask: Any) -> GarmentMask:
    """Return where the garment is, by ``mask`` or by the transparency of the image that is loaded straight into it."""
    if mask is not None:
        require_wires(mask=(mask, MASK))
        return garment_mask(as_masks(mask))
    prompt = getattr(node.hidden, "prompt", None)
    return garment_mask(None, transparency_of(image, prompt, node_id(node), "image"))


def _require_mask(drop_background: bool, mask: Tensor | None) -> None:
    if drop_background and mask is None:
        raise IMAGDressingError("drop_background needs a mask: connect one that marks the garment, or switch it off.")


def _garment_size(width: float, height: float) -> tuple[int, int]:
    """Return the size in pixels, cut to whole cells of the latent."""
    for socket, side in (("width", width), ("height", height)):
        require_between(socket, side, SMALLEST_GARMENT, LARGEST_GARMENT)
    # Floats too, which the nodes of other packs may send over the wire.
    columns, rows = int(width // PIXELS_PER_LATENT), int(height // PIXELS_PER_LATENT)
    return columns * PIXELS_PER_LATENT, rows * PIXELS_PER_LATENT


def _require_sd_vae(vae: Any) -> None:
    require_wires(vae=(None if getattr(vae, "first_stage_model", vae) is None else vae, VAE))
    channels = getattr(vae, "latent_channels", LATENT_CHANNELS)  # other packs' loaders may not tell
    if channels != LATENT_CHANNELS or getattr(vae, "latent_dim", 2) != 2:
        raise IMAGDressingError(
            f"vae makes latents of {channels} channels, so it belongs to another model family; the garment "
            "needs an SD1.5 VAE with 4. Use Load VAE with vae-ft-mse-840000-ema-pruned.safetensors."
        )


def _empty_prompt(clip: Any, batch: int) -> Tensor:
    """Return the conditioning (batch, 77, 768) of the prompt "", MagicClothing's context."""
    if clip is None:
        raise IMAGDressingError(
            "clip is not connected. MagicClothing's garment U-Net reads the empty prompt: connect the CLIP output of "
            "the node that loads your SD1.5 checkpoint."
        )
    require_wires(clip=(clip, CLIP))
    conditioning = clip.encode_from_tokens(clip.tokenize(""))
    if conditioning.shape[-1] != CONTEXT_CHANNELS:
        raise IMAGDressingError(
            f"clip gives {conditioning.shape[-1]} channels, so it belongs to another model family; MagicClothing needs "
            f"SD1.5's, which gives {CONTEXT_CHANNELS}."
        )
    return conditioning.expand(batch, -1, -1)


def _clip_hidden(clip_vision: Any, fitted: Sequence[FittedImage]) -> Tensor:
    """Return CLIP ViT-H's penultimate hidden states, (batch, 257, 1280). One image at a time: dozens would need GBs."""
    require_wires(clip_vision=(clip_vision, CLIP_VISION))
    return torch.cat([_clip_hidden_of_one(clip_vision, tensor_from_images([one.clip])) for one in fitted])


def _clip_hidden_of_one(clip_vision: Any, pixels: Tensor) -> Tensor:
    output = clip_vision.encode_image(pixels)
    hidden = getattr(output, "penultimate_hidden_states", None)
    if not isinstance(hidden, Tensor) or hidden.shape[1:] != (CLIP_TOKENS, CLIP_CHANNELS):
        given = "no hidden states" if hidden is None else "{} tokens of {} channels".format(*hidden.shape[1:])
        raise IMAGDressingError(
            f"clip_vision gives {given}; the checkpoint was trained with CLIP ViT-H/14, "
            f"which gives {CLIP_TOKENS} of {CLIP_CHANNELS}. Load "
            "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors (the image encoder of IP-Adapter for SD1.5)."
        )
    return hidden
