"""The nodes in the real ComfyUI against vectors of the official implementation."""

import pytest
from support import layer_parity, parity


def test_every_stage_from_the_garments_latent_on_equals_the_official_one():
    rows = list(parity.rows_of_vectors())
    assert len(rows) == 15
    assert [row for row in rows if not row.error <= row.limit] == []


def test_every_stage_from_the_garments_image_on_equals_the_official_one():
    rows = list(parity.rows_of_picture())
    assert len(rows) == 7
    assert [row for row in rows if not row.error <= row.limit] == []


@pytest.mark.parametrize("dtype", layer_parity.LIMITS)
def test_every_layer_computes_equation_5_of_its_own_queries_keys_and_values(dtype: str):
    rows = list(layer_parity.rows_of_layers(dtype))
    assert [row for row in rows if not 0 < row.error <= row.limit] == []


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_costs_a_dressed_prediction_hardly_more_than_a_plain_one(dtype: str):
    row = layer_parity.row_over_plain(dtype)
    assert 0 < row.error <= row.limit
