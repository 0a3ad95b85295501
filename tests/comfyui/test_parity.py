"""The nodes in the real ComfyUI, at full size, against vectors of the official implementation."""

from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
from support import parity

pytestmark = pytest.mark.full_size

BACKENDS = attention.REGISTERED_ATTENTION_FUNCTIONS | {"basic": attention.attention_basic}


def test_every_stage_from_the_garments_latent_on_equals_the_official_one():
    rows = list(parity.rows_of_vectors())
    assert len(rows) == 15
    assert [row for row in rows if not row.error <= row.limit] == []


def test_every_stage_from_the_garments_image_on_equals_the_official_one():
    rows = list(parity.rows_of_image())
    assert len(rows) == 7
    assert [row for row in rows if not row.error <= row.limit] == []


@pytest.mark.parametrize("name", BACKENDS)
def test_every_attention_function_of_comfyui_gives_the_official_prediction(monkeypatch: pytest.MonkeyPatch, name: str):
    """The garment's term goes through whichever attention function ComfyUI was started with."""
    called: list[int] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        called.append(1)
        return BACKENDS[name](*args, **kwargs)

    from_latent, _ = parity.encoded()
    monkeypatch.setattr(attention, "optimized_attention", counting)
    ours = parity.noise_prediction(parity.with_garment(from_latent.garment, 1.0), 501)
    assert len(called) == 16 + 16 + 16  # self-attention, garment, cross-attention
    assert parity.relative_error(ours, parity.vectors()["noise_pred.t501.lambda1.0"]) <= 1e-4
