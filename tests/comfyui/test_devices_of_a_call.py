"""ComfyUI's whole call of the model, on a device that is not there: from its guider to the output of each layer."""

from collections.abc import Callable, Iterator
from typing import Any

import comfy.ldm.modules.attention as attention
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from support import comfyui_process as comfyui
from support import stand_ins
from support.narrow_unet import CHANNELS, NEGATIVE, POSITIVE, SD15, SD15_CHANNELS, apply_garment, narrow_garment, prompt
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

LAYERS = comfyui.pack("imagdressing_core.model.layers").LAYERS
RUN = comfyui.pack("nodes.comfyui.sampling_run")
BATCH, SIZE = 2, (12, 8)
# Of the others PyTorch on a CPU knows the names alone; "meta" stands for whatever is not the CPU.
DEVICES = ("cuda", "meta")
PLENTY = 2**36


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    def free(_: Any = None, torch_free_too: bool = False) -> Any:
        return (PLENTY, PLENTY) if torch_free_too else PLENTY

    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)  # of a device that is not there
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    monkeypatch.setattr(RUN, "doubt", lambda *_: None)  # it looks into masks
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def model_on(device: str, dtype: torch.dtype, partially: bool) -> Any:
    """Return a MODEL on a device. partially: every second layer's weights are left on the CPU, as where memory ends."""
    config = comfy.supported_models.SD15(SD15 | {"dtype": dtype, "model_channels": CHANNELS})
    config.set_inference_dtype(dtype, None)
    model = comfy.model_base.BaseModel(config, device=torch.device(device))
    config.unet_config["model_channels"] = SD15_CHANNELS
    model.model_sampling.to(device)
    weighted: list[Any] = [
        module for module in model.diffusion_model.modules() if hasattr(module, "comfy_cast_weights")
    ]
    for module in weighted[::2] if partially else ():
        module.comfy_cast_weights = True
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(weight.to("cpu"), requires_grad=False))
    return comfy.model_patcher.ModelPatcher(model, torch.device(device), torch.device("cpu"))


def predicted(model: Any, device: str) -> Tensor:
    """Return what ComfyUI's guider predicts in one step of a sampling run."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt(POSITIVE), prompt(NEGATIVE))
    guider.set_cfg(4.0)
    guider.conds = {role: list(map(dict, prompts)) for role, prompts in guider.original_conds.items()}
    guider.inner_model, guider.model_options = model.model, model.model_options
    model.model.current_patcher = model
    noise = torch.empty(BATCH, 4, *SIZE, device=device)
    guider.conds = comfy.samplers.process_conds(model.model, noise, guider.conds, torch.device(device), None, None, 0)

    def step(noise: Tensor, *_: Any, **__: Any) -> Tensor:
        return guider.predict_noise(noise, torch.full((BATCH,), 5.0, device=device), model.model_options, 0)

    kinds = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    wrappers = comfy.patcher_extension.get_all_wrappers(kinds, model.model_options, is_model_options=True)
    return comfy.patcher_extension.WrapperExecutor.new_class_executor(step, guider, wrappers).execute(noise)


def several(model: Any) -> Any:
    one_per_image = apply_garment(model, narrow_garment.__wrapped__(2), batch="one per image")
    return apply_garment(one_per_image, narrow_garment.__wrapped__(1, 8, 8), branches="both", strength=0.4)


def alone(model: Any) -> Any:
    return apply_garment(model, narrow_garment.__wrapped__())  # past the cache: fake tensors are for one test alone


def masked(model: Any) -> Any:
    garment = narrow_garment.__wrapped__()
    with unset_fake_temporarily():  # the node looks into its mask
        return apply_garment(model, garment, mask=torch.eye(97)[None, :, :61])


SITUATIONS: dict[str, Callable[[Any], Any]] = {
    "a garment": alone,
    "with a mask of an odd size": masked,
    "one per image, and another in both branches": several,
    "beside a replacement": lambda model: alone(stand_ins.STAND_INS["replacement of a block"](model)),
}


def check(name: str, device: str, dtype: torch.dtype, partially: bool) -> None:
    model = model_on(device, dtype, partially)
    seen: list[tuple[str, torch.dtype]] = []
    for layer in LAYERS:
        to_out = model.model.diffusion_model.get_submodule(f"{layer.ldm_name}.attn1.to_out")
        to_out.register_forward_pre_hook(lambda _, args: seen.append((args[0].device.type, args[0].dtype)))
    patched = SITUATIONS[name](model)
    patched.patch_model(load_weights=False)  # what nodes put in the place of the model's own objects
    assert predicted(patched, device).device.type == device
    assert seen == [(device, dtype)] * len(LAYERS)


@pytest.mark.parametrize("partially", [False, True], ids=["on the device", "partially loaded"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("fake")
def test_all_of_a_call_is_on_the_models_device_in_its_precision(device: str, dtype: torch.dtype, partially: bool):
    check("a garment", device, dtype, partially)


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name != "a garment"])
@pytest.mark.usefixtures("fake")
def test_so_is_it_with_several_garments_and_beside_other_nodes(name: str):
    check(name, "cuda", torch.float16, True)
