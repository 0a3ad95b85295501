"""CLIP's cosine of prompt and image, on a tiny CLIP in the published folder format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny_clip

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.clip_text import load_clip_text
from imagdressing_core.metrics.images import clip_pixels


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPImageProcessor

    folder = tmp_path_factory.mktemp("clip")
    tiny_clip.save_clip(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


def image(seed: int, height: int = 300, width: int = 240) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_it_is_the_raw_cosine_of_transformers_own_clip(clip: Path):
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)
    prompts, images = ["a woman", "a red shirt in rain"], [image(1), image(2, 200, 320)]
    expected = []
    for prompt, one in zip(prompts, images, strict=True):
        with torch.no_grad():
            out = model(**processor(text=prompt, images=Image.fromarray(one), return_tensors="pt"))  # pyright: ignore
        expected.append((out.logits_per_image / model.logit_scale.exp()).item())
    # transformers resizes by torchvision, the official code by Pillow: up to a grey level apart.
    assert load_clip_text(str(clip))(prompts, images) == pytest.approx(expected, abs=2e-3)


def test_an_image_is_resized_by_pillow_and_cut_to_its_middle_as_in_openais_code():
    one = image(3, 320, 240)
    resized = Image.fromarray(one).resize((224, 298), Image.Resampling.BICUBIC).crop((0, 37, 224, 261))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = (np.asarray(resized) / 255 - mean) / std
    assert np.allclose(clip_pixels([one], 224)[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_a_pair_scores_the_same_alone_and_in_a_batch(clip: Path):
    score = load_clip_text(str(clip))
    prompts, images = ["a", "a much longer one", "b"], [image(1), image(2), image(3)]
    alone = [score([prompt], [one])[0] for prompt, one in zip(prompts, images, strict=True)]
    assert score(prompts, images) == pytest.approx(alone, abs=1e-6)
    assert all(-1 <= cosine <= 1 for cosine in alone)


def test_a_prompt_longer_than_clip_reads_is_cut(clip: Path):
    score = load_clip_text(str(clip))
    long, longer = score(["a " * 22, "a " * 22 + "b"], [image(1)] * 2)
    assert long == pytest.approx(longer, abs=1e-6)


def test_no_pairs_have_no_scores(clip: Path):
    assert load_clip_text(str(clip))([], []) == []


def test_a_clip_without_its_text_half_is_no_clip_of_random_numbers(clip: Path, tmp_path: Path):
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(clip)
    weights = {name: value for name, value in model.state_dict().items() if "text" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    CLIPTokenizer.from_pretrained(clip).save_pretrained(tmp_path)
    with pytest.raises(
        IMAGDressingError, match=r"could not be loaded from .*: \d+ of its weights are missing, such as text"
    ):
        load_clip_text(str(tmp_path))


def test_missing_weights_are_named_with_their_source(tmp_path: Path):
    with pytest.raises(IMAGDressingError, match=r"huggingface.co/openai/clip-vit-base-patch32"):
        load_clip_text(str(tmp_path / "absent"))


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(IMAGDressingError, match=r'transformers.*pip install ".+\[evaluation\]"'):
        load_clip_text()


def test_lists_of_different_lengths_are_refused(clip: Path):
    with pytest.raises(ValueError, match="1 prompts for 2 images"):
        load_clip_text(str(clip))(["a"], [image(1)] * 2)
