"""The table of layers against a real SD1.5 U-Net, as diffusers builds it."""

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from imagdressing_core.files.sd15_shapes import CONTEXT_CHANNELS, unet_shapes
from imagdressing_core.model.layers import LAST_TO_RUN, LAYERS


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(cross_attention_dim=CONTEXT_CHANNELS, attention_head_dim=8)


def test_indices_are_those_of_the_official_module_list(unet: UNet2DConditionModel):
    processors = list(unet.attn_processors)
    self_attention = {name: i for i, name in enumerate(processors) if name.endswith("attn1.processor")}
    assert {f"{layer.diffusers_name}.attn1.processor": layer.index for layer in LAYERS} == self_attention


def test_channels_are_those_of_the_layers(unet: UNet2DConditionModel):
    for layer in LAYERS:
        attention = unet.get_submodule(f"{layer.diffusers_name}.attn1")
        assert attention.to_k.in_features == layer.channels  # pyright: ignore[reportAttributeAccessIssue]


def test_names_and_shapes_are_those_of_diffusers(unet: UNet2DConditionModel):
    assert unet_shapes() == {key: tuple(tensor.shape) for key, tensor in unet.state_dict().items()}


@pytest.mark.parametrize("size", [(80, 64), (10, 8), (9, 15), (97, 33)], ids=str)
def test_the_grid_is_the_one_that_the_convolutions_make(size: tuple[int, int]):
    for layer in LAYERS:
        x = torch.empty(1, 1, *size, device="meta")
        for _ in range(layer.level):
            x = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1, device="meta")(x)
        assert layer.grid(*size) == tuple(x.shape[-2:])


def test_the_last_layer_to_run_is_the_last_but_the_middle_one():
    assert LAST_TO_RUN is LAYERS[-2]
    assert LAYERS[-1].block == ("middle", 0)
