"""The Q-Former against the official implementation's tokens."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from support.synthetic_weights import synthetic_tensor

from imagdressing_core.model.qformer import QFormer

REFERENCE = Path(__file__).parents[1] / "reference" / "hybrid_attention.safetensors"


def test_the_tokens_are_the_official_ones():
    reference = load_file(REFERENCE)
    qformer = QFormer()
    qformer.load_state_dict(
        {key: synthetic_tensor(f"proj.{key}", tuple(tensor.shape)) for key, tensor in qformer.state_dict().items()}
    )
    with torch.inference_mode():
        tokens = qformer(reference["input.clip_hidden"])
    assert tokens.shape == (1, 16, 768)
    error = (tokens - reference["tokens"]).norm() / reference["tokens"].norm()
    assert error <= 1e-5


def test_a_batch_is_its_images_one_by_one():
    qformer = QFormer()
    clip_hidden = torch.randn(3, 257, 1280, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        one_by_one = torch.cat([qformer(one) for one in clip_hidden.split(1)])
        torch.testing.assert_close(qformer(clip_hidden), one_by_one, rtol=1e-4, atol=1e-5)
