"""ComfyUI's cache under memory pressure: garments count with their size, and what no prompt uses goes first."""

import asyncio
from typing import Any

import torch
from support import comfyui_process, small_values

ENDLESS = 2**60  # bytes that ought to be free: more than there are
LARGE = 2**20


class Watched(dict[Any, Any]):
    """A cache's entries, with the order in which they were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[str] = []

    def __delitem__(self, key: Any) -> None:
        self.dropped.append(key[0])
        super().__delitem__(key)


def cache_of(outputs: dict[str, Any], used: set[str]) -> Any:
    """Return ComfyUI's cache after a prompt of nodes with these outputs, and one that uses some of them again."""
    from comfy_execution.caching import CacheKeySetID, RAMPressureCache
    from comfy_execution.graph import DynamicPrompt
    from execution import CacheEntry

    async def fill() -> Any:
        cache = RAMPressureCache(CacheKeySetID)
        cache.cache = Watched()
        for nodes in (set(outputs), used):
            prompt = {node: {"class_type": "SaveImage", "inputs": {}} for node in nodes}
            await cache.set_prompt(DynamicPrompt(prompt), list(nodes), None)
            for node in nodes:
                await cache.set(node, CacheEntry({}, [[outputs[node]]]))
        return cache

    return asyncio.run(fill())


def joined(tokens: int) -> Any:
    one = small_values.garment(tokens)
    return comfyui_process.call("IMAGDressingJoinGarments", garment_1=one, garment_2=one)


def test_a_garment_that_a_node_gives_counts_with_the_size_that_it_has():
    garment = joined(64)
    assert garment.nbytes > LARGE
    cache = cache_of({"garment": garment, "text": "small"}, used=set())
    freed = cache.ram_release(ENDLESS, min_entry_size=LARGE)
    assert cache.cache.dropped == ["garment"]
    assert abs(freed - garment.nbytes) < 1


def test_a_garment_is_one_for_every_node_and_can_be_saved_and_joined():
    garment = joined(4)
    again = comfyui_process.call("IMAGDressingJoinGarments", garment_1=garment, garment_2=garment)
    assert len(again.images) == 4
    assert all(isinstance(one, torch.Tensor) for one in again)
    applied = comfyui_process.call(
        "IMAGDressingApply",
        model=small_values.sd15(),
        garment=again,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    (one,) = comfyui_process.pack("nodes.comfyui.wrappers").applied_garments(applied)
    assert len(one.garment.images) == 4


def test_the_encoder_of_an_old_workflow_goes_first_and_what_is_in_use_stays():
    outputs = {"encoder": small_values.encoder(), "garment": joined(64), "used": joined(64)}
    cache = cache_of(outputs, used={"used"})
    cache.ram_release(ENDLESS)
    assert cache.cache.dropped == ["encoder", "garment"]
    assert [node for node, _ in cache.cache] == ["used"]
