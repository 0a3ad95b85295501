"""What other packs do to a MODEL, each in a few lines of our own: one for each kind that was met in a real pack.

``STAND_INS`` maps a name to a function that takes a MODEL and returns a patched clone of it. Whatever is added here is
tried in every way that ``tests/comfyui/test_stand_ins.py`` knows. Names say what is done, the comments who does so.
"""

import copy
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from support.narrow_unet import narrow_model, prompt

Patch = Callable[[Any], Any]
BLOCK = "diffusion_model.input_blocks.4.1.transformer_blocks.0"


def function_wrapper(wrapper: Callable[[Any, Any], Tensor]) -> Patch:
    def patch(model: Any) -> Any:
        patched = model.clone()
        patched.set_model_unet_function_wrapper(wrapper)
        return patched

    return patch


def with_rows(c: dict[str, Any], context: Tensor) -> dict[str, Any]:
    return c | {"c_crossattn": context}


def tiles(per_call: int, prompt_by_prompt: bool = False) -> Patch:
    """Tiled Diffusion: several tiles in a call, each tile's rows after the other's; or each prompt's."""

    def wrapper(apply: Any, inputs: Any) -> Tensor:
        x, sigma, c = inputs["input"], inputs["timestep"], inputs["c"]
        half, side = x.shape[2] // 2, x.shape[3] // 2
        cuts = [(slice(a, a + half), slice(b, b + side)) for a in (0, half) for b in (0, side)]
        prompts, out = len(inputs["cond_or_uncond"]), torch.empty_like(x)
        for first in range(0, len(cuts), per_call):
            some = cuts[first : first + per_call]
            x_rows = torch.cat([x[:, :, a, b] for a, b in some])
            context = c["c_crossattn"].repeat(len(some), 1, 1)
            order = torch.arange(len(x_rows))
            if prompt_by_prompt:
                order = order.unflatten(0, (len(some), prompts, -1)).transpose(0, 1).flatten()
            rows = torch.empty_like(x_rows)
            rows[order] = apply(x_rows[order], sigma.repeat(len(some)), **with_rows(c, context[order]))
            for (a, b), part in zip(some, rows.chunk(len(some)), strict=True):
                out[:, :, a, b] = part
        return out

    return function_wrapper(wrapper)


def image_by_image(apply: Any, inputs: Any) -> Tensor:
    """Fewer rows than the batch: each image's prompts in a call of their own."""
    x, sigma, c = inputs["input"], inputs["timestep"], inputs["c"]
    prompts, out = len(inputs["cond_or_uncond"]), torch.empty_like(x)
    for image in range(len(x) // prompts):
        rows = torch.arange(image, len(x), len(x) // prompts)
        out[rows] = apply(x[rows], sigma[rows], **with_rows(c, c["c_crossattn"][rows]))
    return out


def reference_pass(rows: int) -> Patch:
    """FABRIC, reference-only: a pass over other latents first, with as many rows as there are of these."""

    def wrapper(apply: Any, inputs: Any) -> Tensor:
        x, sigma, c = inputs["input"], inputs["timestep"], inputs["c"]
        context = c["c_crossattn"][:1].repeat(rows, 1, 1)
        apply(x[:1].repeat(rows, 1, 1, 1), sigma[:1].repeat(rows), **with_rows(c, context))
        return apply(x, sigma, **c)

    return function_wrapper(wrapper)


def reference_in_the_batch(apply: Any, inputs: Any) -> Tensor:
    """One row more for each prompt, before its images."""
    x, sigma, c = inputs["input"], inputs["timestep"], inputs["c"]
    prompts = len(inputs["cond_or_uncond"])
    images = len(x) // prompts
    rows = [i for prompt in range(prompts) for i in (prompt * images, *range(prompt * images, (prompt + 1) * images))]
    out = apply(x[rows], sigma[rows], **with_rows(c, c["c_crossattn"][rows]))
    return out.unflatten(0, (prompts, -1))[:, 1:].flatten(0, 1)


def prompts_apart(apply: Any, inputs: Any) -> Tensor:
    """Each prompt in a call of its own, with the options of both."""
    x, sigma, c = inputs["input"], inputs["timestep"], inputs["c"]
    parts = zip(*(t.chunk(len(inputs["cond_or_uncond"])) for t in (x, sigma, c["c_crossattn"])), strict=True)
    return torch.cat([apply(x, sigma, **with_rows(c, context)) for x, sigma, context in parts])


def row_by_row(model: Any) -> Any:
    """RES4LYF's ReSDPatcher: a U-Net that takes its rows one by one and says nothing of it."""
    patched, unet = model.clone(), narrow_model().model.diffusion_model
    inner = types.MethodType(type(unet).forward, unet)

    def forward(
        x: Tensor, timesteps: Any = None, context: Any = None, y: Any = None, control: Any = None, **options: Any
    ) -> Tensor:
        parts = zip(x.split(1), timesteps.split(1), context.split(1), strict=True)
        return torch.cat([inner(x, t, context, y, control, **options) for x, t, context in parts])

    patched.add_object_patch("diffusion_model.forward", forward)
    return patched


def original(name: str) -> Any:
    """Return a module of the plain model, whatever is in its place now."""
    return narrow_model().get_model_object(name)


def block_of_its_own(model: Any) -> Any:
    """Advanced-ControlNet: a block that hands the replacement fewer options, and calls it again for negative rows."""
    patched, block = model.clone(), original(BLOCK)
    inner = types.MethodType(type(block).forward, block)

    def forward(x: Tensor, context: Any = None, transformer_options: Any = None) -> Tensor:
        options = transformer_options or {}
        replaced = options.get("patches_replace", {}).get("attn1", {})
        negative = [i for i, prompt in enumerate(options["cond_or_uncond"]) if prompt == 1]

        def twice(replacement: Any) -> Any:
            def call(q: Tensor, k: Tensor, v: Tensor, extra: Any) -> Tensor:
                extra = {key: value for key, value in extra.items() if key != "attn_precision"}
                out = replacement(q, k, v, extra).clone()
                out[negative] = replacement(q[negative], k[negative], v[negative], extra)
                return out

            return call

        replaced = {place: twice(replacement) for place, replacement in replaced.items()}
        return inner(x, context, options | {"patches_replace": {"attn1": replaced}})

    patched.add_object_patch(f"{BLOCK}.forward", forward)
    return patched


class Unit(nn.Module):
    """LayerDiffuse: a module in attn1's place that has ``forward`` alone."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.inner = [attention]

    def forward(self, x: Tensor, context: Any = None, value: Any = None, **_: Any) -> Tensor:
        return 0.5 * self.inner[0](x, context, value)


def module_replaced(model: Any) -> Any:
    patched = model.clone()
    patched.add_object_patch(f"{BLOCK}.attn1", Unit(original(f"{BLOCK}.attn1")))
    return patched


def forward_replaced(model: Any) -> Any:
    """VisualStylePrompting: another ``attn1.forward``."""
    patched, attention = model.clone(), original(f"{BLOCK}.attn1")
    inner = types.MethodType(type(attention).forward, attention)
    patched.add_object_patch(f"{BLOCK}.attn1.forward", lambda *args, **kwargs: 0.5 * inner(*args, **kwargs))
    return patched


def wrappers_overwritten(model: Any) -> Any:
    """BrushNet: puts its wrappers in the place of everybody's."""
    from comfy.patcher_extension import WrappersMP

    def through(executor: Any, *args: Any, **kwargs: Any) -> Any:
        return executor(*args, **kwargs)

    patched = model.clone()
    kinds = (WrappersMP.APPLY_MODEL, WrappersMP.OUTER_SAMPLE, WrappersMP.CALC_COND_BATCH)
    patched.wrappers.update({kind: {None: [through]} for kind in kinds})
    return patched


def options_copied(model: Any) -> Any:
    """AutomaticCFG: computes the positive prompt anew, with the options that the MODEL had when the node ran."""
    import comfy.samplers

    patched = model.clone()
    kept = copy.deepcopy(patched.model_options)

    def pre_cfg(args: Any) -> Any:
        options = copy.deepcopy(kept)
        (positive,) = comfy.samplers.calc_cond_batch(
            args["model"], [args["conds"][0]], args["input"], args["timestep"], options
        )
        return [positive, *args["conds_out"][1:]]

    patched.set_model_sampler_pre_cfg_function(pre_cfg)
    return patched


def prompt_of_its_own(model: Any) -> Any:
    """Perpendicular negatives before CFG: computes one prompt more, which the sampler was not given."""
    import comfy.sampler_helpers
    import comfy.samplers

    extra = comfy.sampler_helpers.convert_cond(prompt(13))

    def pre_cfg(args: Any) -> Any:
        inner, x = args["model"], args["input"]
        conds = comfy.samplers.encode_model_conds(inner.extra_conds, extra, x, x.device, "negative")
        (empty,) = comfy.samplers.calc_cond_batch(inner, [conds], x, args["timestep"], args["model_options"])
        positive, negative = args["conds_out"]
        return [positive, 0.5 * (negative + empty)]

    patched = model.clone()
    patched.set_model_sampler_pre_cfg_function(pre_cfg)
    return patched


def replacement(function: Callable[..., Tensor], *place: Any) -> Patch:
    def patch(model: Any) -> Any:
        patched = model.clone()
        patched.set_model_attn1_replace(function, *(place or ("input", 4)))
        return patched

    return patch


def attend(q: Tensor, k: Tensor, v: Tensor, extra: Any) -> Tensor:
    import comfy.ldm.modules.attention

    return comfy.ldm.modules.attention.optimized_attention(q, k, v, extra["n_heads"])


def halved(q: Tensor, k: Tensor, v: Tensor, extra: Any) -> Tensor:
    return 0.5 * attend(q, k, v, extra)


def queries_overwritten(q: Tensor, k: Tensor, v: Tensor, extra: Any) -> Tensor:
    """Smoothed Energy Guidance: writes into the queries it is given."""
    q[:] = q.mean(dim=1, keepdim=True)
    return attend(q, k, v, extra)


def kernel_that_centres_keys(model: Any) -> Any:
    """SageAttention's smoothing, in place."""

    def override(function: Any, q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        k -= k.mean(dim=1, keepdim=True)
        return function(q, k, *args, **kwargs)

    patched = model.clone()
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    return patched


def shrunken(model: Any) -> Any:
    """Deep Shrink, RAUNet: a part of the U-Net works on half the size."""
    resized = nn.functional.interpolate

    def down(h: Tensor, options: Any) -> Tensor:
        return resized(h, scale_factor=0.5, mode="bilinear") if options["block"][1] == 3 else h

    def up(h: Tensor, skip: Tensor, _: Any) -> tuple[Tensor, Tensor]:
        return (resized(h, skip.shape[-2:], mode="bilinear") if h.shape[-2:] != skip.shape[-2:] else h), skip

    patched = model.clone()
    patched.set_model_input_block_patch_after_skip(down)
    patched.set_model_output_block_patch(up)
    return patched


STAND_INS: dict[str, Patch] = {
    "nothing": lambda model: model.clone(),
    "one tile in a call": tiles(1),
    "four tiles in a call": tiles(4),
    "three tiles, then one": tiles(3),
    "four tiles, prompt by prompt": tiles(4, prompt_by_prompt=True),
    "image by image": function_wrapper(image_by_image),
    "a pass over one row first": reference_pass(1),
    "a pass over three rows first": reference_pass(3),
    "a row more for each prompt": function_wrapper(reference_in_the_batch),
    "prompts apart": function_wrapper(prompts_apart),
    "U-Net row by row": row_by_row,
    "block of its own": block_of_its_own,
    "attn1 module replaced": module_replaced,
    "attn1.forward replaced": forward_replaced,
    "wrappers overwritten": wrappers_overwritten,
    "options copied": options_copied,
    "a prompt of its own": prompt_of_its_own,
    "replacement of a block": replacement(halved),
    "replacement of a transformer": replacement(halved, "input", 4, 0),
    "queries overwritten": replacement(queries_overwritten),
    "kernel that centres keys": kernel_that_centres_keys,
    "shrunken": shrunken,
}


UNKNOWN_ROWS = "a prompt of its own"
"""Nothing tells whether these rows should get the garment: they go without it, with a warning."""
