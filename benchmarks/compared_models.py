"""The ways to sample that are compared, each as a MODEL of one and the same U-Net in one and the same ComfyUI.

Garments and prompts are random: time and memory depend on their shapes only.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from bench import DEVICE, ROUNDS, VISIT_SECONDS, clock, in_turn
from support import comfyui_process as comfyui
from support import narrow_encoder, narrow_unet
from torch import Tensor, nn
from torch.utils.benchmark import Measurement, Timer

from imagdressing_core.files import official_files

CFG = 7.5
NARROW = bool(os.environ.get("BENCHMARK_NARROW"))
"""To try benchmarks out: a U-Net of SD1.5's structure that takes a tenth of its time and memory."""


def start(*flags: str) -> None:
    """Start ComfyUI in this process with these flags and those of ``COMFYUI_FLAGS``."""
    os.environ["COMFYUI_FLAGS"] = " ".join([os.environ.get("COMFYUI_FLAGS", ""), *flags]).strip()
    comfyui.start()
    import comfy.model_management

    device = comfy.model_management.get_torch_device().type
    if device != DEVICE:
        sys.exit(f"ComfyUI runs on {device}, so its rows would be saved as those of {DEVICE}. Start it without --cpu.")


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
    """Return a random garment of ``width`` × ``height`` pixels, on ComfyUI's device in the denoising U-Net's dtype."""
    import comfy.model_management

    torch.manual_seed(seed)
    device, dtype = comfy.model_management.get_torch_device(), plain().model.get_dtype_inference()
    layers = comfyui.pack("imagdressing_core.model.layers").LAYERS
    widths = {layer.index: narrow_unet.CHANNELS if NARROW else layer.channels for layer in layers}
    projections = comfyui.pack("imagdressing_core.model.hybrid_attention").GarmentProjections(channels=widths)
    features = {layer.index: torch.randn(1, _tokens(layer, width, height), widths[layer.index]) for layer in layers}
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
    if NARROW:
        return narrow_unet.narrow_model()
    return comfyui.call("CheckpointLoaderSimple", ckpt_name=official_files.DENOISING.name)[0]


def encoder() -> Any:
    """Return what Load IMAGDressing Model gives."""
    if NARROW:
        return narrow_encoder.narrow_encoder()
    return comfyui.call("IMAGDressingModelLoader", model_name=official_files.GARMENT.name)


def ours(*garments: Any, start: float = 0.0, end: float = 1.0, schedule: str = "constant") -> Any:
    """Return SD1.5 behind one Apply Garment (Advanced) for each garment."""
    model = plain()
    for garment in garments:
        model = comfyui.call(
            "IMAGDressingApplyAdvanced",
            model=model,
            garment=garment,
            strength=1.0,
            start_percent=start,
            end_percent=end,
            layers="all",
            branches="conditional",
            batch="broadcast",
            schedule=schedule,
        )
    return model


def official(read: ReadGarment | None) -> Any:
    """Return SD1.5 sampled as the official pipeline does, re-created plainly.

    Two calls of the U-Net per step, the unconditional one without the garment; in the conditional one every
    self-attention projects the garment's features to K' and V' anew and adds its attention to them.

    Args:
        read: the garment. Without one this is plain SD1.5 in two calls, which tells how two calls round otherwise.
    """
    attention = {(*layer.block, 0): _projecting(read, layer.index) for layer in _layers()} if read else {}

    def one_prompt_at_a_time(apply_model: Any, inputs: Any) -> Tensor:
        prompts, size = inputs["cond_or_uncond"], len(inputs["input"]) // len(inputs["cond_or_uncond"])
        predictions = []
        for i, prompt in enumerate(prompts):
            rows, c = slice(i * size, (i + 1) * size), inputs["c"]
            replaced = {"attn1": attention} if prompt == 0 else {}
            options = c["transformer_options"] | {"patches_replace": replaced}
            c = c | {"c_crossattn": c["c_crossattn"][rows], "transformer_options": options}
            predictions.append(apply_model(inputs["input"][rows], inputs["timestep"][rows], **c))
        return torch.cat(predictions)

    model = plain().clone()
    model.set_model_unet_function_wrapper(one_prompt_at_a_time)
    return model


def _layers() -> Sequence[Any]:
    return comfyui.pack("imagdressing_core.model.layers").LAYERS


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


def with_step(model: Any, width: int, height: int, batch: int, use: Callable[[Callable[[], Tensor]], Any]) -> None:
    """Call ``use`` amid a run of ComfyUI's sampler with a function that takes one step, all prompts included.

    The step predicts from the same noise each time; the images have ``width`` × ``height`` pixels.
    """
    import comfy.samplers

    def sampler(predict: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        sigma = sigmas[0].expand(len(x))
        use(lambda: predict(x, sigma, **extra_args))
        return x

    generator = torch.Generator().manual_seed(1)
    positive, negative = ([[torch.randn(1, 77, 768, generator=generator), {}]] for _ in "+-")
    guider = comfyui.call("CFGGuider", model=model, positive=positive, negative=negative, cfg=CFG)
    noise = torch.randn(batch, 4, height // 8, width // 8, generator=generator)
    sigma = model.get_model_object("model_sampling").sigmas[501]
    sigmas = torch.stack([sigma, 0 * sigma])
    guider.sample(noise, 0 * noise, comfy.samplers.KSAMPLER(sampler), sigmas, disable_pbar=True, seed=0)


def prediction(model: Any) -> Tensor:
    """Return what one step predicts for an image of 64 × 64 pixels."""
    found: list[Tensor] = []
    with_step(model, 64, 64, 1, lambda step: found.append(step().double()))
    return found[0]


def steps_in_turn(
    models: Mapping[str, Any], width: int, height: int, batch: int = 1, rounds: int = ROUNDS, steps: int = 1
) -> dict[str, Measurement]:
    """Return the seconds of a step by model, taken in turn.

    Args:
        steps: how many are taken with one wait for the GPU, as a sampler takes them; with 1 each is waited for.
    """

    def visit(model: Any) -> Measurement:
        found: list[Measurement] = []

        def measure(timer: Timer) -> None:
            found.append(timer.timeit(steps) if steps > 1 else timer.blocked_autorange(min_run_time=VISIT_SECONDS))

        with_step(model, width, height, batch, lambda step: measure(clock(step)))
        return found[0]

    return in_turn({name: (lambda model=model: visit(model)) for name, model in models.items()}, rounds)
