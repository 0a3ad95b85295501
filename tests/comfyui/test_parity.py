"""The nodes in the real ComfyUI against vectors of the official implementation."""

from support import parity


def test_every_stage_from_the_garments_latent_on_equals_the_official_one():
    rows = list(parity.rows_of_vectors())
    assert len(rows) == 15
    assert [row for row in rows if not row.error <= row.limit] == []


def test_every_stage_from_the_garments_image_on_equals_the_official_one():
    rows = list(parity.rows_of_picture())
    assert len(rows) == 7
    assert [row for row in rows if not row.error <= row.limit] == []
