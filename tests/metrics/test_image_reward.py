"""ImageReward: the published file's layout, the original code's numbers, and images and prompts in batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.synthetic_weights import synthetic_tensor
from torch import Tensor

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.image_reward import (
    TEXT,
    UNUSED,
    VISION,
    RewardModel,
    from_official,
    load_image_reward,
    load_model,
    reward_of,
)
from imagdressing_core.metrics.images import PromptScore
from imagdressing_core.metrics.paper import PROTOCOLS
from imagdressing_core.metrics.run import Setting
from imagdressing_core.metrics.scoring import SCORERS

TINY_VISION = VISION | {
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
}
TINY_TEXT = TEXT | {
    "vocab_size": 50,
    "hidden_size": 24,
    "encoder_hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 40,
}
TINY = TINY_VISION, TINY_TEXT
# What the original (THUDM/ImageReward at c1392c6, its models/BLIP and MLP, transformers 4.33.3, timm 0.6.13) gives for
# the inputs of `tiny_inputs` on the synthetic weights of its own keys.
ORIGINAL = [-0.9940823316574097, -0.47527268528938293, 0.24140189588069916]


def official_shapes(vision: dict[str, Any], text: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys of ImageReward.pt and their shapes."""
    side, seen, read = vision["patch_size"], vision["hidden_size"], text["hidden_size"]
    patches = (vision["image_size"] // side) ** 2
    eyes, words = "blip.visual_encoder.", "blip.text_encoder."
    shapes: dict[str, tuple[int, ...]] = {
        f"{eyes}cls_token": (1, 1, seen),
        f"{eyes}pos_embed": (1, patches + 1, seen),
        f"{eyes}patch_embed.proj.weight": (seen, 3, side, side),
        f"{eyes}patch_embed.proj.bias": (seen,),
        f"{words}embeddings.position_ids": (1, text["max_position_embeddings"]),
        f"{words}embeddings.word_embeddings.weight": (text["vocab_size"], read),
        f"{words}embeddings.position_embeddings.weight": (text["max_position_embeddings"], read),
    }

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    for i in range(vision["num_hidden_layers"]):
        block = f"{eyes}blocks.{i}"
        norm(f"{block}.norm1", seen)
        linear(f"{block}.attn.qkv", seen, 3 * seen)
        linear(f"{block}.attn.proj", seen, seen)
        norm(f"{block}.norm2", seen)
        linear(f"{block}.mlp.fc1", seen, 4 * seen)
        linear(f"{block}.mlp.fc2", 4 * seen, seen)
    norm(f"{eyes}norm", seen)
    norm(f"{words}embeddings.LayerNorm", read)
    for i in range(text["num_hidden_layers"]):
        layer = f"{words}encoder.layer.{i}"
        for attention, width in (("attention", read), ("crossattention", seen)):
            linear(f"{layer}.{attention}.self.query", read, read)
            linear(f"{layer}.{attention}.self.key", width, read)
            linear(f"{layer}.{attention}.self.value", width, read)
            linear(f"{layer}.{attention}.output.dense", read, read)
            norm(f"{layer}.{attention}.output.LayerNorm", read)
        linear(f"{layer}.intermediate.dense", read, 4 * read)
        linear(f"{layer}.output.dense", 4 * read, read)
        norm(f"{layer}.output.LayerNorm", read)
    linear("blip.vision_proj", seen, 256)
    linear("blip.text_proj", read, 256)
    for index, inputs, outputs in ((0, read, 1024), (2, 1024, 128), (4, 128, 64), (6, 64, 16), (7, 16, 1)):
        linear(f"mlp.layers.{index}", inputs, outputs)
    return shapes


def official_state() -> dict[str, Tensor]:
    state = {key: synthetic_tensor(key, shape) for key, shape in official_shapes(*TINY).items()}
    positions = torch.arange(TINY_TEXT["max_position_embeddings"])[None]
    return state | {"blip.text_encoder.embeddings.position_ids": positions}


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ImageReward.pt"
    torch.save(official_state(), path)
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "shirt", "woman", "in", "very", "##s"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rewards(tiny_file: Path, tokenizer: Path) -> PromptScore:
    from transformers import AutoTokenizer

    return reward_of(load_model(tiny_file, *TINY), AutoTokenizer.from_pretrained(tokenizer))


def image(seed: int, height: int = 40, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def tiny_inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, TINY_TEXT["vocab_size"], (3, 35), generator=generator)
    used = torch.arange(35) < torch.tensor([[35], [12], [4]])
    return tokens * used, used.long(), torch.randn(3, 3, 32, 32, generator=generator)


def test_every_official_key_of_the_published_size_has_its_place():
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in RewardModel().state_dict().items()}
    official = official_shapes(VISION, TEXT)
    assert len(official) == 625
    assert from_official(official) == ours
    assert sum(key.startswith(UNUSED) for key in official) == 5


def test_it_gives_the_original_codes_numbers(tiny_file: Path):
    with torch.inference_mode():
        rewards = load_model(tiny_file, *TINY)(*tiny_inputs())
    assert rewards.tolist() == pytest.approx(ORIGINAL, abs=1e-5)


def test_a_pair_scores_the_same_alone_and_in_a_batch(rewards: PromptScore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("imagdressing_core.metrics.images.IMAGES_AT_ONCE", 2)
    prompts = ["a woman in a red shirt", "blue", "a very very red shirt"]
    images = [image(1), image(2, 64, 48), image(3, 32, 32)]
    together = rewards(prompts, images)
    alone = [rewards([prompt], [one])[0] for prompt, one in zip(prompts, images, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 3


def test_prompt_and_image_both_count(rewards: PromptScore):
    first, other_prompt, other_image = rewards(["red", "blue", "red"], [image(1), image(1), image(2)])
    assert first != other_prompt
    assert first != other_image


def test_a_prompt_is_read_up_to_35_tokens(rewards: PromptScore):
    long = "red " * 33  # with [CLS] and [SEP] 35
    first, longer, shorter = rewards([long, long + "blue", "red " * 32], [image(1)] * 3)
    assert first == pytest.approx(longer, abs=1e-6)
    assert first != pytest.approx(shorter, abs=1e-6)


def test_the_published_file_loads_by_path_and_by_folder(tmp_path: Path, tokenizer: Path):
    # At full size, but each tensor is one number repeated, which the file holds once.
    state = {key: torch.full((1,), 0.01).expand(shape) for key, shape in official_shapes(VISION, TEXT).items()}
    torch.save(state, tmp_path / "ImageReward.pt")
    assert (tmp_path / "ImageReward.pt").stat().st_size < 1e6
    for weights in (tmp_path, tmp_path / "ImageReward.pt"):
        rewards = load_image_reward(str(weights), tokenizer=str(tokenizer))
    (score,) = rewards(["a woman"], [image(1)])
    assert np.isfinite(score)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda state: state.pop("mlp.layers.0.bias"), r"1 of \d+ tensors are missing \(first: head.0.bias\)"),
        (
            lambda state: state.update({"mlp.layers.0.bias": torch.zeros(3)}),
            r"head.0.bias is \(3,\) torch.float32, expected",
        ),
        (lambda state: state.update({"another": torch.zeros(3)}), "another"),
    ],
    ids=["missing", "misshapen", "unknown"],
)
def test_another_file_is_refused_in_words(tmp_path: Path, spoil: Any, says: str):
    state = official_state()
    spoil(state)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(IMAGDressingError, match=says):
        load_model(tmp_path / "other.pt", *TINY)


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path, tokenizer: Path):
    ran = tmp_path / "ran"

    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    torch.save({"mlp.layers.0.bias": Code()}, tmp_path / "ImageReward.pt")
    with pytest.raises(IMAGDressingError, match=r"huggingface.co/THUDM/ImageReward"):
        load_image_reward(str(tmp_path), tokenizer=str(tokenizer))
    assert not ran.exists()


def test_a_missing_file_is_named_with_its_source(tmp_path: Path, tokenizer: Path):
    with pytest.raises(IMAGDressingError, match=r"absent\.pt does not exist.*huggingface.co/THUDM/ImageReward"):
        load_image_reward(str(tmp_path / "absent.pt"), tokenizer=str(tokenizer))


def test_lists_of_different_lengths_are_refused(rewards: PromptScore):
    with pytest.raises(ValueError, match="2 prompts for 1 images"):
        rewards(["a", "b"], [image(1)])


def test_the_command_takes_the_tokenizer_from_a_folder(tmp_path: Path, tokenizer: Path):
    """Offline the tokenizer is not to be fetched either; only the missing weights are left to name."""
    (scorer,) = (one for one in SCORERS if one.name == "image-reward")
    paths = {"image-reward": str(tmp_path / "absent.pt"), "image-reward-tokenizer": str(tmp_path / "nowhere")}
    with pytest.raises(IMAGDressingError, match=r"nowhere.*--weights image-reward-tokenizer=PATH"):
        scorer.load(Setting("corrected", weights=paths).weights_of(scorer), "cpu", PROTOCOLS["corrected"])
    paths["image-reward-tokenizer"] = str(tokenizer)
    with pytest.raises(IMAGDressingError, match=r"absent\.pt does not exist"):
        scorer.load(Setting("corrected", weights=paths).weights_of(scorer), "cpu", PROTOCOLS["corrected"])
