"""The garment's term goes through whichever attention function ComfyUI was started with."""

from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
from support import parity

BACKENDS = attention.REGISTERED_ATTENTION_FUNCTIONS | {"basic": attention.attention_basic}


@pytest.mark.parametrize("name", BACKENDS)
def test_every_attention_function_of_the_host_gives_the_official_prediction(
    monkeypatch: pytest.MonkeyPatch, garment: Any, name: str
):
    called: list[int] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        called.append(1)
        return BACKENDS[name](*args, **kwargs)

    monkeypatch.setattr(attention, "optimized_attention", counting)
    ours = parity.noise_prediction(parity.dressed(garment, 1.0), 501)
    assert len(called) == 16 + 16 + 16  # self-attention, garment, cross-attention
    assert parity.relative_error(ours, parity.vectors()["noise_pred.t501.lambda1.0"]) <= 1e-4
