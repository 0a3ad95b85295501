"""The paper's S_c: how well a picture fits its prompt, as the cosine of CLIP ViT-B/32's embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from .inputs import batches, clip_pixels
from .needs import packages, published

WEIGHTS = "openai/clip-vit-base-patch32"
SOURCE = f"huggingface.co/{WEIGHTS} (605 MB)"


class ClipText:
    """Scores pictures for their prompts; the raw cosine, in practice 0.2 to 0.35, higher is better.

    Source: official metric/eval_s.py, which takes it as it is: neither scaled nor cut off at zero.
    """

    def __init__(self, model: Any, tokenizer: Any, device: str = "cpu", batch_size: int = 32) -> None:
        self._model = model.to(device).eval()
        self._tokenizer = tokenizer
        self._device = device
        self._batch_size = batch_size

    @classmethod
    def load(cls, weights: str = WEIGHTS, device: str = "cpu") -> "ClipText":
        """weights: a folder in the format of transformers, or a hub id.

        Raises:
            IMAGDressingError: a package or the weights are missing.
        """
        with packages("CLIP"):
            from transformers import CLIPModel, CLIPTokenizer
        with published("CLIP ViT-B/32", weights, SOURCE):
            return cls(CLIPModel.from_pretrained(weights), CLIPTokenizer.from_pretrained(weights), device)

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], pictures: Sequence[np.ndarray]) -> list[float]:
        """Return one cosine per pair. pictures: RGB, uint8, (height, width, 3). Of a long prompt 77 tokens count."""
        if len(prompts) != len(pictures):
            raise ValueError(f"{len(prompts)} prompts for {len(pictures)} pictures")
        return [cosine for batch in batches(self._batch_size, prompts, pictures) for cosine in self._cosines(*batch)]

    def _cosines(self, prompts: Sequence[str], pictures: Sequence[np.ndarray]) -> list[float]:
        config = self._model.config
        length = config.text_config.max_position_embeddings
        text = self._tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        pixels = clip_pixels(pictures, config.vision_config.image_size)
        out = self._model(pixel_values=pixels.to(self._device), **text.to(self._device))
        return functional.cosine_similarity(out.text_embeds, out.image_embeds).tolist()
