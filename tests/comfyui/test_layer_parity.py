"""Each layer is equation 5 of the step's own Q, K and V, in whatever precision ComfyUI computes."""

import pytest
from support import layer_parity
from support.narrow_encoder import narrow_garment_of_vectors
from support.narrow_unet import narrow_model


@pytest.mark.parametrize("dtype", layer_parity.LIMITS)
def test_every_layer_computes_equation_5_of_its_own_queries_keys_and_values(dtype: str):
    rows = list(layer_parity.rows_of_layers(narrow_model(), narrow_garment_of_vectors(), dtype))
    assert [row for row in rows if not 0 < row.error <= row.limit] == []


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_costs_a_prediction_with_a_garment_hardly_more_than_one_without(dtype: str):
    row = layer_parity.row_over_plain(narrow_model(), narrow_garment_of_vectors(), dtype)
    assert 0 < row.error <= row.limit
