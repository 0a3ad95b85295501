"""On the CPU attention goes through ComfyUI in blocks of queries, which nobody can tell from one call."""

from functools import wraps
from typing import Any

import comfy.ldm.modules.attention as attention
import comfy.model_management
import pytest
import torch
from support import comfyui_process as comfyui
from support.sampling import random

HEADS = 8
OPTIONS = {"n_heads": HEADS, "attn_precision": None}
SUB_QUAD: Any = attention.attention_sub_quad
BACKENDS: dict[str, Any] = attention.REGISTERED_ATTENTION_FUNCTIONS | {"basic": attention.attention_basic}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of queries of each call of ComfyUI's attention; blocks hold the scores of 7 queries."""
    queries: list[int] = []
    monkeypatch.setattr(comfyui.pack("nodes.comfyui.attention"), "BLOCK_BYTES", 7 * HEADS * 2 * 30 * 4)
    monkeypatch.setattr(comfy.model_management, "pytorch_attention_enabled", lambda: False)  # the default with a GPU
    use(monkeypatch, SUB_QUAD, queries)
    return queries


def use(monkeypatch: pytest.MonkeyPatch, function: Any, queries: list[int]) -> None:
    @wraps(function)  # another module's function would be taken for another pack's attention
    def counting(q: Any, *args: Any, **kwargs: Any) -> Any:
        queries.append(q.shape[-2])
        return function(q, *args, **kwargs)

    monkeypatch.setattr(attention, "optimized_attention", counting)


def attend(*qkv: torch.Tensor, **options: Any) -> torch.Tensor:
    return comfyui.pack("nodes.comfyui.attention").attend(*qkv, OPTIONS | options)


def qkv() -> list[torch.Tensor]:
    return [random(2, tokens, 64, seed=tokens + i) for i, tokens in enumerate((25, 30, 30))]


@pytest.mark.parametrize("name", BACKENDS)
def test_blocks_of_queries_give_comfyuis_attention(monkeypatch: pytest.MonkeyPatch, called: list[int], name: str):
    use(monkeypatch, BACKENDS[name], called)
    whole = BACKENDS[name](*qkv(), HEADS)
    torch.testing.assert_close(attend(*qkv()), whole, rtol=1e-5, atol=1e-6)
    assert called == [7, 7, 7, 4]


def test_what_fits_one_block_is_one_call(called: list[int]):
    q, k, v = qkv()
    assert torch.equal(attend(q[:, :7], k, v), SUB_QUAD(q[:, :7], k, v, HEADS))
    assert called == [7]


def test_rows_that_hypertile_cuts_keep_to_their_own_keys(called: list[int]):
    q, k, v = qkv()
    tiled = q[:, :24].reshape(4, 12, 64)
    expected = SUB_QUAD(tiled, *(t.reshape(4, 15, 64) for t in (k, v)), HEADS)
    torch.testing.assert_close(attend(tiled, k, v), expected, rtol=1e-5, atol=1e-6)
    assert called == [7, 5]


def test_pytorchs_own_attention_is_called_once_as_it_goes_in_blocks_itself(
    monkeypatch: pytest.MonkeyPatch, called: list[int]
):
    monkeypatch.setattr(comfy.model_management, "pytorch_attention_enabled", lambda: True)
    attend(*qkv())
    assert called == [25]


def test_an_attention_that_another_node_puts_in_place_of_comfyuis_is_called_once(called: list[int]):
    seen: list[int] = []

    def override(function: Any, q: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(q.shape[1])
        return function(q, *args, **kwargs)

    attend(*qkv(), optimized_attention_override=override)
    assert seen == called == [25]
