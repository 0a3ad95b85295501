"""The garments a MODEL wears, and how ComfyUI's sampling meets them.

A garment is data on a clone of the user's MODEL. What it does is decided at call time, around ``apply_model``: there
the batch, the noise level and the attention patches of all other nodes are known, whatever the order of the nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...imagdressing_core.application.applied_garment import Acting, AppliedGarment
from ...imagdressing_core.application.strengths import CONSTANT
from .attention_patches import Area, AttentionPatches, Call, Options, Watch

KEY = "imagdressing"


def apply_garment(model: ModelPatcher, worn: AppliedGarment) -> ModelPatcher:
    """Return a clone of ``model`` that wears one garment more; one that never acts leaves no trace on it."""
    if not worn.ever_acts:
        return model.clone()
    return with_garments(model, (*applied_garments(model), worn))


def with_garments(
    model: ModelPatcher, garments: tuple[AppliedGarment, ...], watch: Watch | None = None
) -> ModelPatcher:
    """Return a clone of ``model`` that wears these garments and no others. watch: is shown what each of them adds."""
    dressed = model.clone()
    dressed.set_attachments(KEY, garments)
    dressing = GarmentWrappers(garments, watch)
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, dressing.outer_sample),
        (WrappersMP.CALC_COND_BATCH, dressing.calc_cond_batch),
        (WrappersMP.APPLY_MODEL, dressing.apply_model),
    ):
        dressed.remove_wrappers_with_key(kind, KEY)
        dressed.add_wrapper_with_key(kind, KEY, wrapper)
    return dressed


def applied_garments(model: ModelPatcher) -> tuple[AppliedGarment, ...]:
    """Return the garments that ``model`` wears, in the order they were put on."""
    return model.get_attachment(KEY) or ()


@dataclass(frozen=True)
class Run:
    """What the three wrappers of one sampling run tell each other through ``transformer_options``.

    conds: the guider's prompts by role ("positive", "negative", …), once known.
    prompts: (is conditional, area by uuid) for each prompt list of the current call, once known.
    """

    fitting: AttentionPatches
    guider: Any = None
    prompts: tuple[tuple[bool, dict[Any, Area | None]], ...] = ()


@dataclass(frozen=True)
class GarmentWrappers:
    """The wrappers that ComfyUI calls around sampling, prompts and model for a MODEL that wears garments."""

    garments: tuple[AppliedGarment, ...]
    watch: Watch | None = None

    def outer_sample(self, executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Open a fitting for this sampling run and close it, whatever happens, when the run ends."""
        guider = executor.class_obj
        options: Options = guider.model_options["transformer_options"]
        options[KEY] = Run(AttentionPatches((noise.shape[-2], noise.shape[-1]), self.watch), guider)
        try:
            return executor(noise, *args, **kwargs)
        finally:
            del options[KEY]

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: Sequence[Any], x: Tensor, timestep: Tensor, model_options: Options
    ) -> Any:
        """Note what each prompt list of this call is: guidance nodes call with lists of their own making."""
        options: Options = model_options.get("transformer_options", {})
        run = options.get(KEY)
        if run is not None:
            run = Run(run.fitting, run.guider, tuple(_prompt(run.guider, i, cond) for i, cond in enumerate(conds)))
            model_options = model_options | {"transformer_options": options | {KEY: run}}
        return executor(model, conds, x, timestep, model_options)

    def apply_model(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None,
        c_crossattn: Tensor | None,
        control: Any,
        transformer_options: Options,
        **kwargs: Any,
    ) -> Tensor:
        """Add the garments that act at this noise level to the attention patches of this call."""
        model = executor.class_obj
        acting = _acting(self.garments, model.model_sampling, t)
        if acting:
            run = transformer_options.get(KEY) or Run(AttentionPatches())
            call = _call(run, model, x, transformer_options)
            replaced = transformer_options.get("patches_replace", {})
            patches = run.fitting.attention_patches(acting, call, replaced.get("attn1", {}), model.diffusion_model)
            transformer_options = transformer_options | {"patches_replace": replaced | {"attn1": patches}}
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


def _acting(garments: Sequence[AppliedGarment], model_sampling: Any, sigmas: Tensor) -> list[Acting]:
    """Return the garments that act at this noise level, each with its schedule's factor."""
    now = [worn for worn in garments if _acts_now(worn, model_sampling, sigmas)]
    if all(worn.schedule is CONSTANT for worn in now):
        return [(worn, 1.0) for worn in now]
    # The inverse of ComfyUI's percent_to_sigma, which counts 1000 timesteps down.
    percent = 1.0 - float(model_sampling.timestep(sigmas[0])) / 999.0
    return [(worn, factor) for worn in now if (factor := worn.factor_at(percent))]


def _acts_now(worn: AppliedGarment, model_sampling: Any, sigmas: Tensor) -> bool:
    if (worn.start_percent, worn.end_percent) == (0.0, 1.0):
        return True
    start, end = (model_sampling.percent_to_sigma(percent) for percent in (worn.start_percent, worn.end_percent))
    return start >= float(sigmas[0]) > end


def _prompt(guider: Any, index: int, cond: Sequence[Options] | None) -> tuple[bool, dict[Any, Area | None]]:
    """Return whether a prompt list is conditional, and the area of each of its prompts by uuid."""
    uuids = [c["uuid"] for c in cond or ()]
    roles = [role for role, own in guider.conds.items() if [c["uuid"] for c in own] == uuids]
    conditional = "negative" not in roles[0] if roles else index != 1
    return conditional, {c["uuid"]: c.get("area") for c in cond or ()}


def _call(run: Run, model: Any, x: Tensor, options: Options) -> Call:
    height, width = x.shape[-2:]
    indices = options.get("cond_or_uncond", (0,))
    uuids = options.get("uuids", (None,) * len(indices))
    prompts = [run.prompts[i] if run.prompts else (i != 1, {}) for i in indices]
    areas = [areas.get(uuid) for (_, areas), uuid in zip(prompts, uuids, strict=True)]
    return Call(
        conditional=tuple(conditional for conditional, _ in prompts),
        areas=tuple(None if area is None else (height, width, area[2], area[3]) for area in areas),
        image_indices=_image_indices(options, len(x) // len(indices)),
        height=height,
        width=width,
        device=x.device,
        dtype=model.get_dtype_inference(),
    )


def _image_indices(options: Options, count: int) -> tuple[int, ...]:
    """Return the numbers of the images in this call: a context window of an animation, or simply all."""
    indices = options.get("ad_params", {}).get("sub_idxs") or _window(options.get("context_window"))
    return tuple(indices) if indices is not None and len(indices) == count else tuple(range(count))


def _window(window: Any) -> list[int] | None:
    """Return the images of one of ComfyUI's context windows, led by the earlier one that it may be anchored to."""
    indices, anchor = getattr(window, "index_list", None), getattr(window, "causal_anchor_index", None)
    return indices if indices is None or anchor is None or anchor < 0 else [anchor, *indices]
