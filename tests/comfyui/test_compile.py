"""TorchCompileModel: the garment is decided outside the compiled region and read inside it."""

from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from support import parity
from support.sampling import apply_garment, predict


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch: pytest.MonkeyPatch) -> Any:
    # ComfyUI's default on the CPU asks the system for free memory, which no compiler can trace.
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(model: Any, counted: list[int]) -> Any:
    """Do as TorchCompileModel does, with a backend that runs what was traced and counts the graphs."""

    def backend(graph: Any, _: Any) -> Any:
        counted.append(1)
        return graph.forward

    clone = model.clone()
    wrap: Any = set_torch_compile_wrapper
    wrap(model=clone, backend=backend)  # typed for a name, as torch.compile takes it callable too
    return clone


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_compiled_model_dresses_alike(model: Any, garment: Any, order: str):
    noise = parity.vectors()["input.noise"]
    both = (
        apply_garment(compiled(model, []), garment)
        if order == "before"
        else compiled(apply_garment(model, garment), [])
    )
    assert parity.relative_error(predict(both, noise), predict(apply_garment(model, garment), noise)) <= 1e-4


def test_a_garment_breaks_no_graph_and_recompiles_none_between_steps(model: Any, garment: Any):
    noise = parity.vectors()["input.noise"]
    plain: list[int] = []
    predict(compiled(model, plain), noise)
    torch.compiler.reset()
    dressed: list[int] = []
    both = compiled(apply_garment(model, garment), dressed)
    predict(both, noise)
    first = len(dressed)
    predict(both, noise, timestep=981)
    assert first <= len(plain) + 1
    assert len(dressed) == first
