"""The image from which ControlNet Inpaint learns what stays and what is to be painted."""

import torch
from torch import Tensor

from .garment_mask import MIDDLE_GREY
from .paste import mask_resized, require_batches

MASKED = -1.0  # no image holds it: black would be a colour


def inpaint_control(image: Tensor, mask: Tensor) -> Tensor:
    """Return ``image`` with −1 wherever ``mask`` is above one half, (batch, height, width, 3).

    It is ``make_inpaint_condition`` of the official ControlNet 1.1 Inpaint and of diffusers. Batches of one are
    repeated.

    Args:
        image: (batch, height, width, 3 or 4), 0 … 1.
        mask: (batch, height, width), 1 = to be painted; it is resized to the image.

    Raises:
        IMAGDressingError: another rank, NaN, or batches that do not go together.
    """
    require_batches(mask, image=image)
    batch = max(len(image), len(mask))
    image = image[..., :3].float().expand(batch, -1, -1, -1)
    mask = mask_resized(mask, image.shape[1:3]).unsqueeze(-1)
    return torch.where(mask.to(image) > MIDDLE_GREY, MASKED, image)
