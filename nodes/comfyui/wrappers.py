"""The garments applied to a MODEL, and the wrappers through which ComfyUI's sampling reaches them.

A garment is data on a clone of the user's MODEL. What it does is decided at call time, around ``apply_model``: there
the batch, the noise level and the attention patches of all other nodes are known, whatever the order of the nodes.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...imagdressing_core.application.applied_garment import AppliedGarment
from .attention_patches import OnTerm
from .batch import Options, prompt_lists
from .sampling_run import KEY, Prompts, SamplingRun

COMPILED = "torch.compile"
"""Under this key ComfyUI's own TorchCompileModel keeps its wrapper."""


def apply_garment(model: ModelPatcher, applied: AppliedGarment) -> ModelPatcher:
    """Return a clone of ``model`` with one garment more. A garment that never acts changes nothing on the clone."""
    if not applied.ever_acts:
        return model.clone()
    return with_garments(model, (*applied_garments(model), applied))


def with_garments(
    model: ModelPatcher, garments: tuple[AppliedGarment, ...], on_term: OnTerm | None = None
) -> ModelPatcher:
    """Return a clone of ``model`` with these garments and no others. on_term: called with what each of them adds."""
    patched, before = model.clone(), model.get_attachment(KEY)
    wrappers = GarmentWrappers(garments, on_term, [] if before is None else before.runs)
    patched.set_attachments(KEY, wrappers)
    # In the model's options and not on the ModelPatcher: some nodes replace all wrappers there by their own, and others
    # sample with a copy of these options.
    kinds = patched.model_options["transformer_options"].setdefault("wrappers", {})
    kinds.setdefault(WrappersMP.OUTER_SAMPLE, {})[KEY] = [wrappers.outer_sample]
    kinds.setdefault(WrappersMP.CALC_COND_BATCH, {})[KEY] = [wrappers.calc_cond_batch]
    kinds.setdefault(WrappersMP.APPLY_MODEL, {})[KEY] = [wrappers.apply_model]
    patched.remove_callbacks_with_key(CallbacksMP.ON_PREPARE_STATE, KEY)
    patched.add_callback_with_key(CallbacksMP.ON_PREPARE_STATE, KEY, wrappers.prepare_state)
    return patched


def applied_garments(model: ModelPatcher) -> tuple[AppliedGarment, ...]:
    """Return the garments applied to ``model``, in their order."""
    wrappers = model.get_attachment(KEY)
    return () if wrappers is None else wrappers.garments


class GarmentWrappers:
    """The wrappers that ComfyUI calls around sampling, prompts and model for a MODEL with garments.

    runs: the open sampling runs of all MODELs that came from the same first one by Apply Garment. A node between two of
    these may call the model with the options of the first: the garments of the open run act then.
    """

    def __init__(self, garments: tuple[AppliedGarment, ...], on_term: OnTerm | None, runs: list[SamplingRun]) -> None:
        self.garments, self.runs = garments, runs
        self._on_term = on_term

    def __deepcopy__(self, _: Any) -> "GarmentWrappers":
        return self  # in a copy of the model's options the same garments act, in the same run

    def outer_sample(self, executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Open a sampling run, bring its garments to the device before the model, and close it whatever happens."""
        guider = executor.class_obj
        wrappers = guider.model_options["transformer_options"].get("wrappers", {})
        compiled = COMPILED in wrappers.get(WrappersMP.APPLY_MODEL, {})
        run = SamplingRun(self.garments, guider, tuple(noise.shape), compiled, self._on_term)
        run.bring_garments()
        self.runs.append(run)
        try:
            sampled = executor(noise, *args, **kwargs)
        finally:
            self.runs.remove(run)
            run.close()
        run.say_what_did_not_act(kwargs.get("sigmas", args[2] if len(args) > 2 else None))
        return sampled

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: Sequence[Any], x: Tensor, timestep: Tensor, model_options: Options
    ) -> Any:
        """Record whether each list of prompts is conditional: guidance nodes pass lists of their own, in any order."""
        if self.runs:
            self.runs[-1].announced = True
            options: Options = model_options.get("transformer_options", {})
            prompts = Prompts(prompt_lists(conds, self.runs[-1].guider), self.runs[-1].noise_level(timestep))
            model_options = model_options | {"transformer_options": options | {KEY: prompts}}
        return executor(model, conds, x, timestep, model_options)

    def prepare_state(self, _: ModelPatcher, __: Tensor, model_options: Options | None = None) -> None:
        """Wrap ``apply_model`` also where a node samples with options that it copied before Apply Garment ran.

        model_options: those that ComfyUI samples with; older releases do not pass them.
        """
        if not self.runs:
            return
        run = self.runs[-1]
        if model_options is None:
            if not run.announced:
                run.say_options_copied()
            run.announced = False
            return
        wrappers = model_options.setdefault("transformer_options", {}).setdefault("wrappers", {})
        around_model = wrappers.setdefault(WrappersMP.APPLY_MODEL, {})
        if KEY not in around_model:
            around_model[KEY] = [self.apply_model]
            run.borrowed.append(around_model)

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
        """Add the garments that act at this noise level to the self-attention of this call."""
        model = executor.class_obj
        # Without a run some node calls the model by itself: the call alone tells what it is about.
        run = self.runs[-1] if self.runs else SamplingRun(self.garments)
        with ExitStack() as hooks:
            patched = run.patch(model, x, t, c_crossattn, transformer_options, hooks)
            if patched is not None:
                transformer_options, structure = patched
                kwargs |= structure
            return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
