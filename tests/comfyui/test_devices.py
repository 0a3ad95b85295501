"""A sampling call as a GPU or a Mac runs it, on fake tensors: each on the right device in the right precision."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support.narrow_unet import CHANNELS, narrow_garment
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

BATCH = comfyui.pack("nodes.comfyui.batch")
PATCHES = comfyui.pack("nodes.comfyui.attention_patches")
APPLIED = comfyui.pack("imagdressing_core.application.applied_garment")
LAYERS = comfyui.pack("imagdressing_core.model.layers").LAYERS
SIZE = (12, 8)
# Of the others PyTorch on a CPU knows the names alone; "meta" stands for whatever is not the CPU.
DEVICES = ("cuda", "meta")


class Copies(TorchDispatchMode):
    """Notes copies that do not wait, and pooling to sizes that do not divide, which Macs refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.unwaited: list[Any] = []
        self.pooled: list[torch.device] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("non_blocking"):
            self.unwaited.append(func)
        if "adaptive_avg_pool2d" in str(func):
            self.pooled.append(args[0].device)
        return func(*args, **kwargs)


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


@pytest.fixture(autouse=True)
def attention_that_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.ldm.modules.attention as attention

    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "a mask of an odd size"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_every_layer_keeps_device_and_precision(fake: FakeTensorMode, device: str, dtype: torch.dtype, masked: bool):
    given = narrow_garment.__wrapped__()  # past the cache: fake tensors must not stay for other tests
    applied = APPLIED.AppliedGarment(given, 0.7, mask=torch.rand(1, 97, 61) if masked else None)
    call = BATCH.ModelCall((BATCH.Row(False, 0), BATCH.Row(True, 0)), *SIZE, torch.device(device), dtype)
    with Copies() as copies:
        run = PATCHES.AttentionPatches([applied], SIZE)
        patches = run.for_call({id(applied): (applied, 1.0)}, call, {}, dict).replacements
        for layer in LAYERS:
            rows, columns = layer.grid(*SIZE)
            q, k, v = (torch.empty(2, rows * columns, CHANNELS, device=device, dtype=dtype) for _ in range(3))
            z: Tensor = patches[(*layer.block, 0)](q, k, v, {"n_heads": 8})
            assert (z.device.type, z.dtype, z.shape) == (device, dtype, q.shape)
    assert not copies.unwaited
    assert {pooled.type for pooled in copies.pooled} <= {"cpu"}
    garment = given.images[0].layers[0].k
    assert garment.device.type == "cpu" and garment.dtype == torch.float32


@pytest.mark.parametrize("size", [(1000, 1500), (64, 64), (511, 639)], ids=str)
def test_masks_of_any_size_are_pooled_on_the_cpu(size: tuple[int, int]):
    masks = comfyui.pack("imagdressing_core.model.mask").TokenMasks
    with Copies() as copies:
        tokens = masks(torch.empty(1, *size), torch.device("meta"), torch.float16).on_grid(80, 64)
    assert (tokens.device.type, tokens.dtype) == ("meta", torch.float16)
    assert {pooled.type for pooled in copies.pooled} == {"cpu"}


def test_the_nodes_never_copy_without_waiting():
    """What ComfyUI's ``device_supports_non_blocking`` denies to Macs and others; it would gain nothing elsewhere."""
    from support.comfyui_release import REPOSITORY

    folders = ("nodes", "imagdressing_core/model", "imagdressing_core/application", "imagdressing_core/files")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    assert files and not [path for path in files if "non_blocking=True" in path.read_text(encoding="utf-8")]
