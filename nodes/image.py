"""Work on the finished image."""

from dataclasses import asdict
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..imagdressing_core.application.heatmap import overlay, resized
from ..imagdressing_core.application.strengths import LAYER_PRESETS, parse_layers
from ..imagdressing_core.errors import IMAGDressingError, require_between
from ..imagdressing_core.files.sd15_shapes import LATENT_CHANNELS
from ..imagdressing_core.images.crop import LARGEST_PART, SMALLEST_PART, Box, crop_to_mask, paste_into_box
from ..imagdressing_core.images.garment_mask import doubt, stretched
from ..imagdressing_core.images.inpaint_control import inpaint_control
from ..imagdressing_core.images.paste import WIDEST_FEATHER, mask_resized, paste_back, paste_doubts
from ..imagdressing_core.model.mask import as_masks
from .comfyui.feedback import SAYS_AGAIN, progress_bar, said, warning
from .comfyui.heat_maps import heat_maps
from .comfyui.requirements import require_sd15
from .comfyui.wires import BOX, CONDITIONING, IMAGE, LATENT, MASK, require_wires
from .sockets import CATEGORY, check_texts, preset_input

MOST_STEPS = 50

# ComfyUI's own class makes four widgets of it, in some versions only.
BoundingBox = io.Custom("BOUNDING_BOX")


def _said_of(*doubts: str | None) -> dict[str, list[str]]:
    return said(*(warning(text) for text in doubts if text))


class PasteBack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingPasteBack",
            display_name="Paste Back",
            category=CATEGORY,
            description="Puts the generated part into the original image; nothing outside the mask changes.",
            search_aliases=["composite", "stitch", "inpaint"],
            inputs=[
                io.Image.Input("original", tooltip="The original image. It sets the size."),
                io.Image.Input(
                    "generated", tooltip="The generated image of the same scene. The node resizes it to the original."
                ),
                io.Mask.Input("mask", tooltip="White marks where the generated image shows."),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=WIDEST_FEATHER,
                    tooltip="Width in pixels of the soft edge, inside the mask, where one image fades into the other.",
                ),
                io.Boolean.Input(
                    "match_color",
                    default=False,
                    tooltip="Match the generated image's colours to those of the original, measured outside the mask.",
                ),
                BoundingBox.Input(
                    "box",
                    optional=True,
                    tooltip="From Crop to Mask: where the generated image belongs in the original. Without it, the "
                    "generated image shows all of the original.",
                    extra_dict={"forceInput": True},
                ),
            ],
            outputs=[io.Image.Output(tooltip="The original image with the generated part in it.")],
            **SAYS_AGAIN,
        )

    @classmethod
    def execute(
        cls,
        original: Tensor,
        generated: Tensor,
        mask: Tensor,
        feather: int,
        match_color: bool,
        box: dict[str, int] | None = None,
    ) -> io.NodeOutput:
        require_wires(original=(original, IMAGE), generated=(generated, IMAGE), mask=(mask, MASK))
        masks = as_masks(mask)
        if box is None:
            pasted = paste_back(original, generated, masks, feather, match_color)
            part_of_mask = mask_resized(masks, original.shape[1:3])
        else:
            require_wires(box=(box, BOX))
            place = Box(*(box[side] for side in ("x", "y", "width", "height")))
            pasted = paste_into_box(original, generated, masks, feather, match_color, place)
            part_of_mask = place.of(mask_resized(masks, original.shape[1:3]))
        doubts = paste_doubts(part_of_mask, feather, match_color)
        text = doubt(masks, "the original is given back unchanged") or stretched(masks, original)
        return io.NodeOutput(pasted, ui=_said_of(text, *doubts))


class CropToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingCropToMask",
            display_name="Crop to Mask",
            category=CATEGORY,
            description="Cuts out the part of a photo around a mask, at the size to generate. Paste Back puts it back.",
            search_aliases=["inpaint", "crop and stitch", "inpaint crop"],
            inputs=[
                io.Image.Input("image", tooltip="The photo, at its full size."),
                io.Mask.Input("mask", tooltip="White marks the part to paint. The node resizes it to the image."),
                io.Float.Input(
                    "margin",
                    default=0.25,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much of the photo shows around the mask on each side, as a share of the mask's longer "
                    "side. The model needs to see neck and arms to draw a garment that fits.",
                ),
                io.Int.Input(
                    "size",
                    default=576,
                    min=SMALLEST_PART,
                    max=LARGEST_PART,
                    step=8,
                    tooltip="The part gets about as many pixels as a square of this side, in its own aspect: 576 for "
                    "as many as 512 × 640 has.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The part of the photo: paint it anew at this size."),
                io.Mask.Output(tooltip="The same part of the mask."),
                BoundingBox.Output(display_name="box", tooltip="Where the part is in the photo, for Paste Back."),
            ],
            **SAYS_AGAIN,
        )

    @classmethod
    def execute(cls, image: Tensor, mask: Tensor, margin: float, size: int) -> io.NodeOutput:
        require_wires(image=(image, IMAGE), mask=(mask, MASK))
        masks = as_masks(mask)
        part, part_of_mask, box = crop_to_mask(image, masks, margin, size)
        together = mask_resized(masks, image.shape[1:3]).amax(dim=0, keepdim=True)  # they share the box
        text = doubt(together, "the whole image is taken", half_counts=False)
        return io.NodeOutput(part, part_of_mask, asdict(box), ui=_said_of(text or stretched(masks, image)))


class InpaintControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingInpaintControl",
            display_name="Inpaint Control Image",
            category=CATEGORY,
            description="Makes the control image for ControlNet Inpaint: the image with its part to paint marked.",
            search_aliases=["inpaint", "inpaint preprocessor", "controlnet inpaint"],
            inputs=[
                io.Image.Input("image", tooltip="The image of which a part is painted anew, at the size you generate."),
                io.Mask.Input(
                    "mask",
                    tooltip="White marks the part to paint; what is lighter than middle grey counts as white. The node "
                    "resizes it to the image.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    tooltip="For the image of Apply ControlNet. The marked pixels are -1, which previews show as black."
                )
            ],
            **SAYS_AGAIN,
        )

    @classmethod
    def execute(cls, image: Tensor, mask: Tensor) -> io.NodeOutput:
        require_wires(image=(image, IMAGE), mask=(mask, MASK))
        masks = as_masks(mask)
        control = inpaint_control(image, masks)
        at_size = mask_resized(masks, image.shape[1:3])
        text = doubt(at_size, "no part of the image is marked", half_counts=False)
        return io.NodeOutput(control, ui=_said_of(text or stretched(masks, image)))


def _require_finished(image: Tensor, latent: Tensor) -> None:
    if latent.ndim != 4 or latent.shape[1] != LATENT_CHANNELS or not latent.numel():
        raise IMAGDressingError(
            f"samples has the shape {tuple(latent.shape)}, and SD1.5's latents are (batch, {LATENT_CHANNELS}, height, "
            "width). Connect the LATENT that the sampler returned."
        )
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or not image.numel():
        raise IMAGDressingError(
            f"image must be a batch of images (batch, height, width, 3), found {tuple(image.shape)}. Connect VAE "
            "Decode."
        )
    if len(image) > len(latent):
        raise IMAGDressingError(
            f"image has {len(image)} images and samples has {len(latent)}. Connect the IMAGE that VAE Decode makes of "
            "these samples."
        )
    for socket, values in (("samples", latent), ("image", image)):
        if not bool(torch.isfinite(values).all()):
            raise IMAGDressingError(f"{socket} holds NaN or infinite values: look at the node that makes it.")


class GarmentHeatMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingHeatMap",
            display_name="Garment Heat Map",
            category=CATEGORY,
            description="Shows where in the finished image each garment acts, as its share of the attention over the "
            "chosen layers and noise levels. Sampling itself costs nothing more.",
            search_aliases=["attention map", "heatmap", "visualize"],
            inputs=[
                io.Model.Input("model", tooltip="The model with the garments, as the sampler got it."),
                io.Conditioning.Input("positive", tooltip="The prompt, as the sampler got it."),
                io.Latent.Input("samples", tooltip="The latent that the sampler returned."),
                io.Image.Input("image", tooltip="The same as an image, from VAE Decode."),
                preset_input(
                    "layers",
                    LAYER_PRESETS,
                    default="all",
                    tooltip=f"The layers to look at: {', '.join(LAYER_PRESETS)}; or weights such as 0:1.0, 5:0.5.",
                ),
                io.Int.Input(
                    "steps",
                    default=4,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="The number of noise levels to look at, evenly over the sampling. Each takes as long as a "
                    "sampling step.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="heat maps",
                    tooltip="The images under the first garment's heat map, then under the second's, and so on; "
                    "brightest is where any garment acts most.",
                ),
                io.Mask.Output(
                    display_name="shares",
                    tooltip="The same maps as numbers, 0 to 1: the garment's share of the attention.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, layers: str | None = None) -> bool | str:
        return check_texts((parse_layers, layers))

    @classmethod
    def execute(cls, model: Any, positive: Any, samples: Any, image: Tensor, layers: str, steps: int) -> io.NodeOutput:
        require_wires(positive=(positive, CONDITIONING), samples=(samples, LATENT), image=(image, IMAGE))
        require_sd15(model)
        require_between("steps", steps, 1, MOST_STEPS)
        _require_finished(image, samples["samples"])
        maps = heat_maps(model, positive, samples["samples"], int(steps), parse_layers(layers), progress_bar())
        images = image[torch.arange(maps.shape[1]) % len(image)]
        brightest = float(maps.max())
        shown = torch.cat([overlay(images, one, brightest) for one in maps])
        return io.NodeOutput(shown, torch.cat([resized(one, image.shape[1:3]) for one in maps]))
