"""CLIP in miniature, in the published folder format."""

from pathlib import Path

import torch

from imagdressing_core.training import tiny_models


def save_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = layers | {"vocab_size": 514, "max_position_embeddings": 24, "bos_token_id": 512, "eos_token_id": 513}
    config = CLIPConfig(text_config=text, vision_config=layers | {"image_size": 224, "patch_size": 32})
    CLIPModel(config).save_pretrained(folder)
    tiny_models.tiny_tokenizer().save_pretrained(folder)
