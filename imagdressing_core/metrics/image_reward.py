"""ImageReward (arXiv 2304.05977): how people would rate an image for its prompt, on transformers' BLIP.

The published package no longer imports with current transformers; its published weights load here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import IMAGDressingError, packages
from ..files.weights import misfits
from .images import ImageArray, PromptScore, clip_pixels, in_batches
from .weights import BERT_TOKENIZER, IMAGE_REWARD, loading_weights, weight_file

TOKENS = 35
# Of the rewards of the training set, so that scores are about standard normal (official ImageReward.py).
MEAN, STD = 0.16717362830052426, 1.0333394966054072
# BLIP with ViT-L/16 at 224 pixels and a text encoder of BERT's size, as published (med_config.json).
VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
}
TEXT = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "encoder_hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "is_decoder": True,  # gives its layers cross-attention; it is run as an encoder all the same
}
HEAD = (1024, 128, 64, 16, 1)

# Official key → key of RewardModel, replaced in this order.
KEYS = (
    ("blip.visual_encoder.cls_token", "vision.embeddings.class_embedding"),
    ("blip.visual_encoder.pos_embed", "vision.embeddings.position_embedding"),
    ("blip.visual_encoder.patch_embed.proj.", "vision.embeddings.patch_embedding."),
    ("blip.visual_encoder.blocks.", "vision.encoder.layers."),
    ("blip.visual_encoder.norm.", "vision.post_layernorm."),
    (".attn.qkv.", ".self_attn.qkv."),
    (".attn.proj.", ".self_attn.projection."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    ("blip.text_encoder.", "text."),
    ("mlp.layers.", "head."),
)
# In the file, but not part of the score: BLIP's contrastive projections, and a counter.
UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


class RewardModel(nn.Module):
    """Prompt and image → reward (batch,): the text encoder looks at the image, its first token is rated."""

    def __init__(self, vision: Mapping[str, Any] = VISION, text: Mapping[str, Any] = TEXT) -> None:
        super().__init__()
        from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

        self.image_size = vision["image_size"]
        self.vision = BlipVisionModel(BlipVisionConfig(**vision))
        self.text = BlipTextModel(BlipTextConfig(**text), add_pooling_layer=False)
        # Linear throughout, with the dropouts that the official numbering counts.
        layers = [nn.Linear(i, o) for i, o in zip((text["hidden_size"], *HEAD[:-1]), HEAD, strict=True)]
        self.head = nn.Sequential(*(module for layer in layers[:3] for module in (layer, nn.Dropout())), *layers[3:])

    def forward(self, tokens: Tensor, token_mask: Tensor, pixels: Tensor) -> Tensor:
        """tokens, token_mask: (batch, tokens); pixels: (batch, 3, image_size, image_size), normalised."""
        seen = self.vision(pixels).last_hidden_state  # (batch, 1 + patches, vision_width)
        read = self.text(tokens, attention_mask=token_mask, encoder_hidden_states=seen).last_hidden_state
        return (self.head(read[:, 0]).squeeze(-1) - MEAN) / STD


def from_official(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return an official state dict under the keys of :class:`RewardModel`, without what the score does not use."""
    return {_renamed(key): value for key, value in state.items() if not key.startswith(UNUSED)}


def _renamed(key: str) -> str:
    for official, ours in KEYS:
        key = key.replace(official, ours)
    return key


def load_model(path: Path, vision: Mapping[str, Any] = VISION, text: Mapping[str, Any] = TEXT) -> RewardModel:
    """Load the published file, running no code in it.

    Raises:
        IMAGDressingError: there is no file, or a tensor in it is missing, unknown or of another shape.
    """
    if not path.is_file():
        raise IMAGDressingError(f"{path} does not exist. Get {IMAGE_REWARD.source} and put it there.")
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, Mapping):
        raise IMAGDressingError(
            f"{path} holds a {type(state).__name__}, not ImageReward's weights. Get {IMAGE_REWARD.source}."
        )
    with torch.device("meta"):
        model = RewardModel(vision, text)
    state = from_official(state)
    problems = misfits(state, {key: tuple(value.shape) for key, value in model.state_dict().items()})
    if problems:
        raise IMAGDressingError(f"{path} is not ImageReward's file: {problems}. Get {IMAGE_REWARD.source}.")
    model.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    # In no file: it is a buffer that BLIP does not save.
    positions = torch.arange(text["max_position_embeddings"])[None]
    model.text.embeddings.register_buffer("position_ids", positions, persistent=False)
    return model.eval()


def load_image_reward(
    weights: str = IMAGE_REWARD.hub_id, device: str = "cpu", tokenizer: str = BERT_TOKENIZER.hub_id
) -> PromptScore:
    """Load the model and the tokenizer, and return :func:`reward_of` them.

    Args:
        weights: ``ImageReward.pt``, its folder or a hub id.
        device: Where the model runs.
        tokenizer: The folder or hub id of BERT's tokenizer.

    Raises:
        IMAGDressingError: a package, the weights or the tokenizer are missing, or the file is another.
    """
    with packages("ImageReward"):
        from transformers import AutoTokenizer
    with loading_weights(BERT_TOKENIZER, tokenizer):
        words = AutoTokenizer.from_pretrained(tokenizer)
    with loading_weights(IMAGE_REWARD, weights):
        model = load_model(weight_file(IMAGE_REWARD, weights))
    return reward_of(model, words, device)


def reward_of(model: RewardModel, tokenizer: Any, device: str = "cpu") -> PromptScore:
    """Return the score of images for their prompts, about −2 to 2; higher is better."""
    model.to(device)

    @in_batches
    @torch.inference_mode()
    def rewards(prompts: Sequence[str], images: Sequence[ImageArray]) -> list[float]:
        text = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        inputs = text["input_ids"], text["attention_mask"], clip_pixels(images, model.image_size)
        return model(*(tensor.to(device) for tensor in inputs)).tolist()

    return rewards
