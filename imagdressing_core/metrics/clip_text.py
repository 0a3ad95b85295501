"""The paper's S_c: how well an image fits its prompt, as the cosine of CLIP ViT-B/32's embeddings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from ..errors import packages
from .images import ImageArray, clip_pixels, in_batches
from .weights import CLIP, load_whole, loading_weights


class ClipText:
    """Scores images for their prompts by the cosine of CLIP's embeddings, in practice 0.2 to 0.35; higher is better.

    Source: official metric/eval_s.py, which neither scales the cosine nor cuts it off at zero.
    """

    def __init__(self, model: Any, tokenizer: Any, device: str = "cpu", batch_size: int = 32) -> None:
        self._model = model.to(device).eval()
        self._tokenizer = tokenizer
        self._device = device
        self._batch_size = batch_size

    @classmethod
    def load(cls, weights: str = CLIP.hub_id, device: str = "cpu") -> "ClipText":
        """Load CLIP. weights: a folder in the format of transformers, or a hub id.

        Raises:
            IMAGDressingError: a package or the weights are missing.
        """
        with packages("CLIP"):
            from transformers import CLIPModel, CLIPTokenizer
        with loading_weights(CLIP, weights):
            model, tokenizer = load_whole(CLIPModel, weights), CLIPTokenizer.from_pretrained(weights)
        return cls(model, tokenizer, device)

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], images: Sequence[ImageArray]) -> list[float]:
        """Return the cosine of each prompt and its image. A prompt is cut after 77 tokens."""
        return [one for batch in in_batches(self._batch_size, prompts, images) for one in self._cosines(*batch)]

    def _cosines(self, prompts: Sequence[str], images: Sequence[ImageArray]) -> list[float]:
        config = self._model.config
        length = config.text_config.max_position_embeddings
        text = self._tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        pixels = clip_pixels(images, config.vision_config.image_size)
        out = self._model(pixel_values=pixels.to(self._device), **text.to(self._device))
        return functional.cosine_similarity(out.text_embeds, out.image_embeds).tolist()
