"""MP-LPIPS, MagicClothing's Matched-Points-LPIPS (arXiv 2404.09512): do the garment's details look alike where worn?

For points of the garment, the points of the generated image that look most like them are found by diffusion features
(DIFT, arXiv 2306.03881), and the patches around both are compared by LPIPS. Source: official metric_MP_LPIPS.py.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ..errors import packages
from .images import ImageArray, Mask
from .outcome import NoScore
from .weights import ALEXNET, STABLE_DIFFUSION, loading_weights

# The published settings.
SIZE = 512  # pixels, both sides; images are squashed
POINT_DISTANCE = 40
PATCH = 33
DILATION = 17
PROMPT, TIMESTEP, UP_BLOCK, ENSEMBLE = "a photo of an upper-garment", 41, 2, 8
SEED = 0

CHANNELS_AT_ONCE = 32  # of the features when they are brought to full size, which bounds the memory
POINTS_AT_ONCE = 32
GARMENTS_KEPT = 16  # with their patches and features, a few megabytes each

Features: TypeAlias = Callable[[ImageArray], Tensor]
"""An image, (512, 512, 3) → features, (C, h, w)."""
Distance: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Patches, (batch, 3, 33, 33), 0 … 1, twice → their perceptual distances, (batch,)."""


class MPLPIPS:
    """Scores how alike details of garment and generated image are; about 0 to 1, lower is better."""

    def __init__(self, features: Features, distance: Distance) -> None:
        self._features = features
        self._distance = distance
        white = torch.ones(1, 3, PATCH, PATCH)
        self._penalty = distance(white, torch.zeros_like(white))
        self._queries = lru_cache(GARMENTS_KEPT)(self._read)  # by the bytes of the arrays

    @classmethod
    def load(cls, weights: str = STABLE_DIFFUSION.hub_id, device: str = "cpu") -> "MPLPIPS":
        """Load DIFT and LPIPS. weights: Stable Diffusion 2.1 as a folder in the format of diffusers, or a hub id.

        Raises:
            IMAGDressingError: a package or the weights are missing.
        """
        return cls(load_features(weights, device), load_lpips(device))

    @torch.inference_mode()
    def score(self, garment: ImageArray, garment_mask: Mask, image: ImageArray, image_mask: Mask) -> float:
        """Return the distance of a garment from the one in an image; garments are remembered for further images.

        Raises:
            NoScore: no point of the 40-pixel grid lies on the garment.
        """
        asked, asked_mask = cloth(garment, garment_mask)
        worn, worn_mask = cloth(image, image_mask)
        asked_patches, asked_features = self._queries(asked.tobytes(), asked_mask.tobytes())
        points = matches(asked_features, self._features(worn))
        distances = self._distance(asked_patches, patches(worn, points))
        hits = torch.from_numpy(dilated(worn_mask))[points[:, 0], points[:, 1]]
        return torch.where(hits.to(distances.device), distances, self._penalty).mean().item()

    def _read(self, image: bytes, mask: bytes) -> tuple[Tensor, Tensor]:
        """Return a cloth's patches at its points, (points, 3, 33, 33), and its features there, (points, C)."""
        pixels = np.frombuffer(image, np.uint8).reshape(SIZE, SIZE, 3)
        points = query_points(np.frombuffer(mask, bool).reshape(SIZE, SIZE))
        if not len(points):
            raise NoScore("garment too small", "no point of the 40-pixel grid is on it")
        return patches(pixels, points), features_at(self._features(pixels), points)


def cloth(image: ImageArray, mask: Mask) -> tuple[ImageArray, Mask]:
    """Squash image and mask to 512 × 512 and black out the rest, in this order, as the official code does."""
    square = Image.fromarray(image).resize((SIZE, SIZE))
    kept = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((SIZE, SIZE))) > 127
    return np.asarray(square) * kept[..., None], kept


def dilated(mask: Mask) -> Mask:
    """Return the mask grown by 8 pixels to each side, diagonals included."""
    white = torch.from_numpy(mask).float()[None, None]
    return functional.max_pool2d(white, DILATION, stride=1, padding=DILATION // 2)[0, 0].bool().numpy()


def query_points(mask: Mask) -> Tensor:
    """Return the points (row, column) of the 40-pixel grid that lie on the garment, (points, 2)."""
    return torch.from_numpy(POINT_DISTANCE * np.argwhere(mask[::POINT_DISTANCE, ::POINT_DISTANCE]))


def patches(image: ImageArray, points: Tensor) -> Tensor:
    """Return the patches around points (row, column), black beyond the image, (points, 3, 33, 33), 0 … 1."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255  # (3, height, width)
    padded = functional.pad(pixels, (PATCH // 2,) * 4)
    return torch.stack([padded[:, row : row + PATCH, column : column + PATCH] for row, column in points.tolist()])


def features_at(features: Tensor, points: Tensor) -> Tensor:
    """Return features (C, h, w), up-sampled bilinearly to 512 × 512, at points (row, column): (points, C)."""
    places = (2 * points.flip(-1).to(features) + 1) / SIZE - 1  # pixel middles, x before y, −1 … 1
    sampled = functional.grid_sample(
        features[None], places[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T


def matches(queries: Tensor, features: Tensor) -> Tensor:
    """Return for each query the pixel (row, column) whose feature has the largest cosine with it, (points, 2).

    queries: (points, C); features: (C, h, w), up-sampled bilinearly to 512 × 512. Up-sampling is linear, so it is the
    products with the queries that are up-sampled, a map for each; the norms, which are not linear, once for all.
    """
    norm = _upsampled_norm(features)
    found = []
    for some in functional.normalize(queries).split(POINTS_AT_ONCE):
        products = torch.einsum("pc,chw->phw", some, features)
        cosines = _upsampled(products) / norm
        found.append(cosines.flatten(1).argmax(1))
    best = torch.cat(found).cpu()
    return torch.stack((best // SIZE, best % SIZE), dim=1)


def _upsampled(maps: Tensor) -> Tensor:
    """(maps, h, w) → (maps, 512, 512)."""
    return functional.interpolate(maps[None], (SIZE, SIZE), mode="bilinear", align_corners=False)[0]


def _upsampled_norm(features: Tensor) -> Tensor:
    """Return the norm over the channels of features (C, h, w) up-sampled to (512, 512)."""
    square = sum(_upsampled(some).square().sum(0) for some in features.split(CHANNELS_AT_ONCE))
    return torch.as_tensor(square).sqrt().clamp_min(1e-12)


def load_lpips(device: str) -> Distance:
    """Return LPIPS on AlexNet: its heads come with torchmetrics, its trunk is torchvision's.

    Raises:
        IMAGDressingError: a package or the trunk is missing.
    """
    with packages("LPIPS"):
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    with loading_weights(ALEXNET, ALEXNET.hub_id):
        lpips = LearnedPerceptualImagePatchSimilarity("alex", reduction="none", normalize=True)
    lpips = lpips.to(device)

    def distance(first: Tensor, second: Tensor) -> Tensor:
        distances = lpips(first.to(device), second.to(device))
        lpips.reset()  # a metric of torchmetrics remembers what it has seen
        return distances

    return distance


def load_features(weights: str, device: str) -> Features:
    """Return what Stable Diffusion 2.1 makes of a slightly noisy image in its third up block: (640, 64, 64).

    It is the mean over eight noises, the same eight for every image, so that scores depend on no order.

    Raises:
        IMAGDressingError: a package or the weights are missing.
    """
    with packages("MP-LPIPS"):
        from diffusers import DDIMScheduler, StableDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]
    with loading_weights(STABLE_DIFFUSION, weights):
        pipeline = StableDiffusionPipeline.from_pretrained(weights, safety_checker=None)
    pipeline.to(device)
    vae, unet = pipeline.vae, pipeline.unet  # cut off behind an up block, whose output it then returns
    unet.up_blocks = unet.up_blocks[: UP_BLOCK + 1]
    unet.conv_norm_out, unet.conv_out = None, nn.Identity()
    scheduler: Any = DDIMScheduler.from_config(pipeline.scheduler.config)
    with torch.inference_mode():
        context = pipeline.encode_prompt(PROMPT, device, ENSEMBLE, False)[0]  # (8, 77, 1024)

    @torch.inference_mode()
    def features(image: ImageArray) -> Tensor:
        generator = torch.Generator().manual_seed(SEED)
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(device) / 127.5 - 1
        posterior = vae.encode(pixels).latent_dist
        draw, noise = torch.randn(2, ENSEMBLE, *posterior.mean.shape[1:], generator=generator).to(pixels)
        latents = (posterior.mean + posterior.std * draw) * vae.config.scaling_factor
        noisy = scheduler.add_noise(latents, noise, torch.tensor([TIMESTEP]))  # (8, 4, 64, 64)
        return unet(noisy, TIMESTEP, encoder_hidden_states=context).sample.mean(0)

    return features
