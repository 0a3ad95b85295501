"""Behind ComfyUI's own TorchCompileModel, with the options that it sets: as without it, whatever was compiled before.

The node drops all of the compiler's guards on ``transformer_options``, where patches live, and all compiled MODELs of a
process share what was traced. So these tests run one situation after the other in one process.
"""

from collections.abc import Callable, Iterator
from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
import torch
from support import comfyui_process as comfyui
from support import stand_ins
from support.narrow_unet import apply_garment, narrow_garment, narrow_model, sample
from support.parity import relative_error
from torch import Tensor

LIMIT = 1e-4  # what processors round differently grows along the steps; a garment missed is 0.01 or more
STEPS = 3
Make = Callable[[Any], Any]


def left_half() -> Tensor:
    mask = torch.zeros(1, 96, 64)
    mask[:, :, :32] = 1
    return mask


def other(model: Any, **inputs: Any) -> Any:
    return apply_garment(model, narrow_garment(1, 8, 8), **inputs)


SITUATIONS: dict[str, Make] = {
    "no garment": lambda model: model,
    "a garment": apply_garment,
    "another strength": lambda model: apply_garment(model, strength=0.4),
    "until half": lambda model: apply_garment(model, end_percent=0.5),
    "from half on": lambda model: apply_garment(model, start_percent=0.5),
    "a schedule": lambda model: apply_garment(model, schedule="ease out"),
    "another garment of another size": other,
    "two garments": lambda model: other(apply_garment(model, strength=0.5), strength=0.7),
    "a mask": lambda model: apply_garment(model, mask=left_half()),
    "both branches": lambda model: apply_garment(model, branches="both"),
    "a replacement of another node": lambda model: apply_garment(stand_ins.STAND_INS["replacement of a block"](model)),
    "no garment again": lambda model: model,
}


@pytest.fixture(scope="module")
def attention_that_can_be_traced() -> Iterator[None]:
    # ComfyUI's default on the CPU asks the system for free memory, which no compiler can trace.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "optimized_attention", attention.attention_pytorch)
        torch.compiler.reset()
        yield
    torch.compiler.reset()


def compiled(model: Any) -> Any:
    return comfyui.call("TorchCompileModel", model=model, backend="eager")


def test_where_the_attention_breaks_the_graph_the_garment_acts_uncompiled_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
):
    torch.compiler.reset()
    assert attention.optimized_attention is attention.attention_sub_quad
    for name in ("no garment", "a garment", "another strength", "until half", "two garments", "no garment again"):
        model = SITUATIONS[name](narrow_model())
        assert relative_error(sample(compiled(model), steps=STEPS), sample(model, steps=STEPS)) <= LIMIT, name
    assert caplog.text.count("run without torch.compile") == 4  # once in each run with a garment


@pytest.mark.usefixtures("attention_that_can_be_traced")
def test_every_situation_after_every_other_is_as_without_the_compiler():
    for name, make in SITUATIONS.items():
        model = narrow_model()
        uncompiled = sample(make(model), steps=STEPS)
        assert relative_error(sample(compiled(make(model)), steps=STEPS), uncompiled) <= LIMIT, name


@pytest.mark.usefixtures("attention_that_can_be_traced")
def test_the_compiler_may_come_before_the_garment():
    for name, make in SITUATIONS.items():
        model = narrow_model()
        uncompiled = sample(make(model), steps=STEPS)
        assert relative_error(sample(make(compiled(model)), steps=STEPS), uncompiled) <= LIMIT, name


@pytest.mark.usefixtures("attention_that_can_be_traced")
def test_neither_steps_nor_strengths_nor_schedules_compile_anew():
    torch.compiler.reset()
    graphs: list[Any] = []

    def counting(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = narrow_model()
    sample(comfyui.call("TorchCompileModel", model=apply_garment(model), backend=counting), steps=STEPS)
    first = len(graphs)
    others: list[dict[str, Any]] = [{"strength": 0.3}, {"schedule": "ease in"}]
    others += [{"garment": narrow_garment(2), "batch": "one per image"}]
    for inputs in others:
        both = comfyui.call("TorchCompileModel", model=apply_garment(model, **inputs), backend=counting)
        sample(both, steps=STEPS)
    # A schedule that starts at nothing has one step without the garment: the plain graph.
    assert first <= len(graphs) <= 2 * first


@pytest.mark.usefixtures("attention_that_can_be_traced")
def test_a_layer_of_another_nodes_own_is_left_out_and_said(caplog: pytest.LogCaptureFixture):
    both = compiled(apply_garment(stand_ins.forward_replaced(narrow_model())))
    plain = sample(stand_ins.forward_replaced(narrow_model()))
    assert relative_error(sample(both), plain) > 0.01
    assert caplog.text.count("does not act in 1 layers") == 1


@pytest.mark.usefixtures("attention_that_can_be_traced")
def test_a_layer_that_was_another_nodes_own_is_reached_again_once_that_node_is_gone(caplog: pytest.LogCaptureFixture):
    sample(stand_ins.forward_replaced(narrow_model()), steps=1)
    with_garment = apply_garment(narrow_model())
    assert relative_error(sample(compiled(with_garment), steps=STEPS), sample(with_garment, steps=STEPS)) <= LIMIT
    assert "does not act" not in caplog.text
