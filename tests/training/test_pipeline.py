"""The pipeline as a script uses it: loaded from folders, a garment or several, any batch, any guidance.

The U-Nets are of full SD1.5 width, which a checkpoint must fit; the other models are a layer deep.
"""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from support.comfyui_release import prepare_base
from support.synthetic_models import sd15_unet, synthetic_state
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files import official_files
from imagdressing_core.model.garment import LayerKV
from imagdressing_core.on_diffusers.pipeline import DressingPipeline, load_pipeline
from imagdressing_core.training.tiny_models import tiny_tokenizer, tiny_vae

SMALL: dict[str, Any] = {"width": 32, "height": 40, "steps": 1}
CHECKPOINT = prepare_base() / "models" / official_files.GARMENT.path


def differences(ours: list[Image.Image], theirs: list[Image.Image]) -> list[int]:
    """Return the largest difference of each two images, 0 … 255."""
    pairs = zip(ours, theirs, strict=True)
    return [
        int(numpy.abs(numpy.asarray(one, numpy.int16) - numpy.asarray(other, numpy.int16)).max())
        for one, other in pairs
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SD1.5 in diffusers' folders, in fp16, and ``image_encoder`` beside."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = CLIPTextConfig(vocab_size=514, hidden_size=768, bos_token_id=512, eos_token_id=513, **small)
    text.max_position_embeddings = tiny_tokenizer().model_max_length
    image = CLIPVisionConfig(hidden_size=1280, patch_size=56, **small)
    models = {"text_encoder": CLIPTextModel(text), "image_encoder": CLIPVisionModelWithProjection(image)}
    for name, model in (models | {"vae": tiny_vae(), "tokenizer": tiny_tokenizer()}).items():
        model.save_pretrained(str(folder / name))
    with torch.device("meta"):
        unet: Any = sd15_unet().half()
    unet.load_state_dict({key: one.half() for key, one in synthetic_state(sd15_unet, "unet.").items()}, assign=True)
    unet.save_pretrained(str(folder / "unet"))
    return folder


@pytest.fixture(scope="module")
def pipeline(base: Path) -> DressingPipeline:
    return load_pipeline(base, CHECKPOINT, base / "image_encoder")


@pytest.fixture(scope="module")
def garments(pipeline: DressingPipeline) -> dict[int, LayerKV]:
    images = [Image.new("RGB", (30, 40), colour) for colour in ("navy", "gold")]
    return pipeline.encode_garments(images, width=32, height=40)


def only(garments: dict[int, LayerKV], which: int) -> dict[int, LayerKV]:
    return {index: layer.map(lambda tensor: tensor[which : which + 1]) for index, layer in garments.items()}


def test_an_image_of_a_batch_is_the_image_alone(pipeline: DressingPipeline, garments: dict[int, LayerKV]):
    made = pipeline(garments, ["a", "b"], images_per_garment=2, seed=5, **SMALL)
    assert [image.size for image in made] == [(32, 40)] * 4
    assert min(differences(made[:3], made[1:])) > 10
    first = pipeline(only(garments, 0), ["a"], images_per_garment=2, seed=5, **SMALL)
    second = pipeline(only(garments, 1), ["b"], images_per_garment=2, seed=7, **SMALL)
    assert max(differences(made, first + second)) <= 2


def test_one_garment_serves_all_prompts(pipeline: DressingPipeline, garments: dict[int, LayerKV]):
    made = pipeline(only(garments, 1), ["a", "b"], **SMALL)
    assert max(differences(made[1:], pipeline(only(garments, 1), ["b"], seed=43, **SMALL))) <= 2


def test_a_garment_without_strength_is_none(pipeline: DressingPipeline, garments: dict[int, LayerKV]):
    bare = pipeline(None, ["a"], **SMALL)
    assert differences(pipeline(only(garments, 0), ["a"], strength=0.0, **SMALL), bare) == [0]
    assert differences(pipeline(only(garments, 0), ["a"], **SMALL), bare)[0] > 10


def test_without_guidance_a_step_is_one_row(pipeline: DressingPipeline, garments: dict[int, LayerKV]):
    rows: list[int] = []
    hook = pipeline.base.unet.conv_in.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    alone, more, less = (pipeline(only(garments, 0), ["a"], guidance=w, **SMALL) for w in (1, 1 + 1e-6, 1 - 1e-6))
    hook.remove()
    assert rows == [1, 2, 2]
    assert max(differences(alone + alone, more + less)) <= 2


def test_an_image_without_finite_numbers_is_an_error_and_not_black(
    pipeline: DressingPipeline, garments: dict[int, LayerKV]
):
    with pytest.raises(IMAGDressingError, match="NaN or infinite values"):
        pipeline(only(garments, 0), ["a"], guidance=float("nan"), **SMALL)


def test_impossible_requests_are_explained(
    pipeline: DressingPipeline, garments: dict[int, LayerKV], base: Path, tmp_path: Path
):
    with pytest.raises(IMAGDressingError, match="2 garments for 3 prompts: give one, or one for each"):
        pipeline(garments, ["a", "b", "c"], **SMALL)
    with pytest.raises(IMAGDressingError, match="An image of 33 × 40 cannot be made: take multiples of 8"):
        pipeline(garments, ["a", "b"], width=33, height=40)
    with pytest.raises(IMAGDressingError, match="nowhere/tokenizer does not exist: it should hold a CLIPTokenizer"):
        load_pipeline(tmp_path / "nowhere", CHECKPOINT, base / "image_encoder")
