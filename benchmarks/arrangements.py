"""The ways to sample that are compared, each as a MODEL of one and the same U-Net in one and the same host.

Garments and prompts are random: time and memory depend on their shapes only.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from support import comfyui_process as comfyui
from support.comfyui_release import comfyui_path
from torch import Tensor, nn

from imagdressing_core.files import official_files

CFG = 7.5
ATTENTION: dict[str, dict[str, bool]] = {
    "default": {},
    "pytorch": {"use_pytorch_cross_attention": True},
    "split": {"use_split_cross_attention": True},
}
"""The flags that start ComfyUI with another attention function than its default."""


def start(**flags: Any) -> None:
    """Start ComfyUI in this process as its command line would with these flags, for instance ``fp16_unet=True``."""
    sys.path.insert(0, str(comfyui_path()))
    from comfy.cli_args import args

    for name, value in flags.items():
        setattr(args, name, value)
    comfyui.start()


@dataclass(frozen=True)
class ReadGarment:
    """What the garment U-Net gives of a garment, {layer index: C_g (1, tokens, C)}, and W'_k, W'_v to project it."""

    features: Mapping[int, Tensor]
    projections: nn.Module
    width: int
    height: int

    @property
    def garment(self) -> Any:
        """The GARMENT that Encode Garment makes of it: projected once, kept where ComfyUI keeps such things."""
        import comfy.model_management

        module = comfyui.pack("imagdressing_core.model.garment")
        stored = comfy.model_management.intermediate_device()
        layers = {i: layer.map(lambda t: t.to(stored)) for i, layer in self.projections(self.features).items()}
        origin = module.Origin("benchmark", "", "official", self.width, self.height)
        return module.Garment(module.images_of_batch(layers, origin))


def read_garment(width: int, height: int, seed: int = 0) -> ReadGarment:
    """Return a random garment of ``width`` × ``height`` pixels, on ComfyUI's device in the dressing model's dtype."""
    import comfy.model_management

    torch.manual_seed(seed)
    device, dtype = comfy.model_management.get_torch_device(), plain().model.get_dtype_inference()
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS
    projections = comfyui.pack("imagdressing_core.model.hybrid_attention").GarmentProjections()
    features = {layer.index: torch.randn(1, _tokens(layer, width, height), layer.channels) for layer in layers}
    return ReadGarment(
        {index: tensor.to(device, dtype) for index, tensor in features.items()},
        projections.to(device, dtype).requires_grad_(False),
        width,
        height,
    )


def _tokens(layer: Any, width: int, height: int) -> int:
    rows, columns = layer.grid(height // 8, width // 8)
    return rows * columns


@cache
def plain() -> Any:
    """Return SD1.5 without a garment: the floor."""
    return comfyui.call("CheckpointLoaderSimple", ckpt_name=official_files.DRESSING.name)[0]


def ours(*garments: Any) -> Any:
    """Return SD1.5 behind one Apply Garment for each garment."""
    model = plain()
    for garment in garments:
        model = comfyui.call(
            "IMAGDressingApply", model=model, garment=garment, strength=1.0, start_percent=0.0, end_percent=1.0
        )
    return model


def official(read: ReadGarment) -> Any:
    """Return SD1.5 sampled as the official pipeline does, re-created plainly.

    Two calls of the U-Net per step, the unconditional one without the garment; in the conditional one every
    self-attention projects the garment's features to K' and V' anew and adds its attention to them.
    """
    attention = {"attn1": {(*layer.block, 0): _projecting(read, layer.index) for layer in _layers()}}

    def one_prompt_at_a_time(apply_model: Any, inputs: Any) -> Tensor:
        prompts = inputs["cond_or_uncond"]
        rows = [torch.arange(len(inputs["input"])).chunk(len(prompts))[i] for i in range(len(prompts))]
        return torch.cat(
            [_call(apply_model, inputs, r, attention if prompts[i] == 0 else {}) for i, r in enumerate(rows)]
        )

    model = plain().clone()
    model.set_model_unet_function_wrapper(one_prompt_at_a_time)
    return model


def _layers() -> Sequence[Any]:
    return comfyui.pack("imagdressing_core.model.layers").LAYERS


def _call(apply_model: Any, inputs: Any, rows: Tensor, replaced: dict[str, Any]) -> Tensor:
    c = inputs["c"]
    c = c | {
        "c_crossattn": c["c_crossattn"][rows],
        "transformer_options": c["transformer_options"] | {"patches_replace": replaced},
    }
    return apply_model(inputs["input"][rows], inputs["timestep"][rows], **c)


def _projecting(read: ReadGarment, index: int) -> Any:
    import comfy.ldm.modules.attention

    to_k, to_v = (read.projections.get_submodule(f"{index}.to_{name}_ref") for name in "kv")
    c_g = read.features[index]

    def attention(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        def attend(k: Tensor, v: Tensor) -> Tensor:
            return comfy.ldm.modules.attention.optimized_attention(
                q, k, v, options["n_heads"], attn_precision=options["attn_precision"], transformer_options=options
            )

        return attend(k, v) + attend(*(project(c_g).expand(len(q), -1, -1) for project in (to_k, to_v)))

    return attention


def sample(model: Any, sampler: Any, sigmas: Tensor, width: int, height: int, batch: int = 1) -> Tensor:
    """Sample pictures of ``width`` × ``height`` pixels with ComfyUI's guider, with a negative prompt and cfg."""
    generator = torch.Generator().manual_seed(1)
    positive, negative = ([[torch.randn(1, 77, 768, generator=generator), {}]] for _ in "+-")
    guider = comfyui.call("CFGGuider", model=model, positive=positive, negative=negative, cfg=CFG)
    noise = torch.randn(batch, 4, height // 8, width // 8, generator=generator)
    return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)
