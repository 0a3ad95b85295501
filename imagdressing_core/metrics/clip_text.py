"""The paper's S_c: how well an image fits its prompt, as the cosine of CLIP ViT-B/32's embeddings."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from ..errors import packages
from .images import ImageArray, PromptScore, clip_pixels, in_batches
from .weights import CLIP, load_whole, loading_weights


def load_clip_text(weights: str = CLIP.hub_id, device: str = "cpu") -> PromptScore:
    """Return the cosine of CLIP's embeddings of prompt and image, in practice 0.2 to 0.35; higher is better.

    A prompt is cut after 77 tokens. Source: official metric/eval_s.py, which neither scales the cosine nor cuts it off
    at zero.

    Args:
        weights: A folder in the format of transformers, or a hub id.
        device: Where the model runs.

    Raises:
        IMAGDressingError: a package or the weights are missing.
    """
    with packages("CLIP"):
        from transformers import CLIPModel, CLIPTokenizer
    with loading_weights(CLIP, weights):
        model, tokenizer = load_whole(CLIPModel, weights), CLIPTokenizer.from_pretrained(weights)
    model.to(device)
    length, size = model.config.text_config.max_position_embeddings, model.config.vision_config.image_size

    @in_batches
    @torch.inference_mode()
    def cosines(prompts: Sequence[str], images: Sequence[ImageArray]) -> list[float]:
        text = tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        out = model(pixel_values=clip_pixels(images, size).to(device), **text.to(device))
        return functional.cosine_similarity(out.text_embeds, out.image_embeds).tolist()

    return cosines
