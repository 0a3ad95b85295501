"""Which row of a call is which prompt and image: in ComfyUI's own order, in other nodes', and where nothing tells."""

from typing import Any
from uuid import uuid4

import pytest
import torch
from support import comfyui_process as comfyui
from torch import Tensor

BATCH = comfyui.pack("nodes.comfyui.batch")
Row = BATCH.Row
POSITIVE, NEGATIVE = torch.randn(1, 77, 8), torch.randn(1, 77, 8)
UNKNOWN = Row(None, None)


class Guider:
    """As ComfyUI's guiders: the prompts by role."""

    def __init__(self, **conds: list[dict[str, Any]]) -> None:
        self.conds = conds


def cond(context: Tensor, **more: Any) -> dict[str, Any]:
    import comfy.conds

    return {"uuid": uuid4(), "model_conds": {"c_crossattn": comfy.conds.CONDCrossAttn(context)}} | more


@pytest.fixture
def guider() -> Guider:
    return Guider(positive=[cond(POSITIVE)], negative=[cond(NEGATIVE)])


def lists(guider: Guider) -> Any:
    return BATCH.prompt_lists([guider.conds["positive"], guider.conds["negative"]], guider)


def context(*of_rows: Tensor) -> Tensor:
    return torch.cat(of_rows)


BOTH = {"cond_or_uncond": [1, 0]}  # as ComfyUI's: the negative prompt comes first


def test_prompts_one_after_the_other_each_with_every_image(guider: Guider):
    rows = BATCH.call_rows(BOTH, lists(guider), 4, None, 2)
    assert rows == (Row(False, 0), Row(False, 1), Row(True, 0), Row(True, 1))


def test_a_window_of_a_longer_batch(guider: Guider):
    options = BOTH | {"ad_params": {"sub_idxs": [5, 7]}}
    assert [row.image for row in BATCH.call_rows(options, lists(guider), 4, None, 16)] == [5, 7, 5, 7]


@pytest.mark.parametrize("tile_by_tile", [True, False])
def test_tiles_are_told_by_their_texts(guider: Guider, tile_by_tile: bool):
    order = [NEGATIVE, POSITIVE] * 3 if tile_by_tile else [NEGATIVE] * 3 + [POSITIVE] * 3
    rows = BATCH.call_rows(BOTH, lists(guider), 6, context(*order), 1)
    assert rows == tuple(Row(text is POSITIVE, 0) for text in order)


def test_tiles_with_the_same_text_in_both_prompts_are_tile_by_tile():
    same = Guider(positive=[cond(POSITIVE)], negative=[cond(POSITIVE)])
    rows = BATCH.call_rows(BOTH, lists(same), 4, context(*[POSITIVE] * 4), 1)
    assert [row.conditional for row in rows] == [False, True, False, True]


def test_images_in_turn_within_tiles_are_known(guider: Guider):
    order = [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE] * 2
    rows = BATCH.call_rows(BOTH, lists(guider), 8, context(*order), 2)
    assert [row.image for row in rows] == [0, 1] * 4


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_rows_than_prompts_and_images_have_a_role_but_no_image(guider: Guider, count: int):
    rows = BATCH.call_rows(BOTH, lists(guider), count, context(*[POSITIVE] * count), 2)
    assert rows == (Row(True, None),) * count


def test_a_text_that_no_prompt_has_stays_unknown(guider: Guider):
    rows = BATCH.call_rows(BOTH, lists(guider), 3, context(POSITIVE, torch.randn(1, 77, 8), NEGATIVE), 1)
    assert [row.conditional for row in rows] == [True, None, False]


def test_a_text_repeated_beside_a_longer_one_is_recognised(guider: Guider):
    rows = BATCH.call_rows(BOTH, lists(guider), 3, context(*[POSITIVE.repeat(1, 2, 1)] * 3), 1)
    assert [row.conditional for row in rows] == [True] * 3


@pytest.mark.parametrize(
    "options",
    [{"cond_or_uncond": [0, 5]}, {"cond_or_uncond": []}, {"cond_or_uncond": [1, 0], "uuids": [uuid4()]}],
    ids=["a list that is not there", "none", "fewer ids than prompts"],
)
def test_options_that_contradict_each_other_stop_nothing(guider: Guider, options: dict[str, Any]):
    rows = BATCH.call_rows(options, lists(guider), 2, context(NEGATIVE, POSITIVE), 1)
    assert [row.conditional for row in rows] == [False, True]


def test_nothing_known_at_all_is_unknown(guider: Guider):
    assert BATCH.call_rows(BOTH, lists(guider), 3, None, 1) == (Row(None, 0),) * 3
    assert BATCH.call_rows(BOTH, (), 3, None, None) == (UNKNOWN,) * 3


def test_a_conditioning_copied_into_another_role_keeps_the_lists_apart():
    """As ComfyUI does for prompts with an area: the same uuid in both roles."""
    shared = cond(POSITIVE, area=(4, 4, 0, 0))
    guider = Guider(positive=[cond(POSITIVE), shared], negative=[cond(NEGATIVE), shared])
    assert [one.conditional for one in lists(guider)] == [True, False]


def test_a_part_of_a_list_has_the_role_of_the_list():
    guider = Guider(positive=[cond(POSITIVE), cond(POSITIVE)], negative=[cond(NEGATIVE), cond(NEGATIVE)])
    (one,) = BATCH.prompt_lists([guider.conds["negative"][:1]], guider)
    assert not one.conditional


def test_a_call_past_calc_cond_batch_is_told_by_its_ids(guider: Guider):
    negative = guider.conds["negative"][0]["uuid"]
    (one,) = BATCH.prompt_lists_by_id({"cond_or_uncond": [0], "uuids": [negative]}, guider)
    assert not one.conditional


def test_a_prompt_that_the_sampler_was_not_given_is_known_by_its_text_alone(guider: Guider):
    (known,) = BATCH.prompt_lists([[cond(NEGATIVE)]], guider)
    (unknown,) = BATCH.prompt_lists([[cond(torch.randn(1, 77, 8))]], guider)
    assert (known.conditional, unknown.conditional) == (False, None)


def test_two_new_prompts_are_the_positive_and_the_negative_one(guider: Guider):
    both = BATCH.prompt_lists([[cond(torch.randn(1, 77, 8))], [cond(torch.randn(1, 77, 8))]], guider)
    assert [one.conditional for one in both] == [True, False]


def test_a_new_prompt_beside_a_known_one_is_unknown(guider: Guider):
    both = BATCH.prompt_lists([[cond(torch.randn(1, 77, 8))], guider.conds["negative"]], guider)
    assert [one.conditional for one in both] == [None, False]
