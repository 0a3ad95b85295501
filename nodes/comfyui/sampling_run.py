"""One sampling run of a MODEL with garments: it decides which of them act in a call, and says which did not and why."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...imagdressing_core.application.applied_garment import AppliedGarment
from ...imagdressing_core.application.strengths import CONSTANT
from ...imagdressing_core.images.garment_mask import doubt
from ...imagdressing_core.model.layers import LAYERS
from .attention import breaks_graphs
from .attention_hooks import attentions, blocks, foreign_layers, hooked, is_foreign
from .attention_patches import AttentionPatches, LayerTerms, OnTerm
from .batch import ModelCall, Options, PromptList, Row, call_rows, prompt_lists_by_id, rows_by_context
from .noise_schedule import NoiseSchedule

KEY = "imagdressing"


@dataclass(frozen=True)
class Prompts:
    """What ``calc_cond_batch`` tells ``apply_model`` through the call's options.

    lists: the lists of prompts that the call predicts noise for.
    sigma: the noise level; None where no garment has a window or a schedule.
    """

    lists: tuple[PromptList, ...]
    sigma: float | None


class SamplingRun:
    """A run, from ComfyUI's ``outer_sample`` to its end; or a single call of the model outside of one.

    guider: ComfyUI's, with the prompts by role. noise: the shape of the sampled latent, (batch, 4, height, width).
    borrowed: the wrappers in other nodes' options among which the garments' own stands for the length of the run.
    announced: whether the garments' ``calc_cond_batch`` was asked before the call that ComfyUI prepares.
    """

    def __init__(
        self,
        garments: Sequence[AppliedGarment],
        guider: Any = None,
        noise: tuple[int, ...] | None = None,
        compiled: bool = False,
        on_term: OnTerm | None = None,
    ) -> None:
        self.guider = guider
        self.borrowed: list[dict[str, Any]] = []
        self.announced = False
        self._garments, self._uncompiled = garments, compiled and breaks_graphs()
        self._compiled = compiled and not self._uncompiled
        self._batch = noise[0] if noise else None
        size = (noise[-2], noise[-1]) if noise else None
        self._patches = AttentionPatches(garments, size, on_term, self._device() if self._compiled else None)
        self._timed = any(not _always_the_same(applied) for applied in garments)
        self._schedules: dict[int, tuple[NoiseSchedule, Any]] = {}
        self._blocks: tuple[Any, dict[int, Any]] | None = None
        self._part: tuple[Tensor | None, tuple[Row, ...]] = None, ()
        self._acted: set[int] = set()

    def bring_garments(self) -> None:
        """Bring the run's garments to the device. ComfyUI decides afterwards how much of the model fits beside them."""
        patcher, device = self.guider.model_patcher, self._device()
        dtype = patcher.get_model_object("manual_cast_dtype") or patcher.model_dtype()
        self._say_doubts()
        distinct = {tuple(map(id, images)): images for images in self._images()}
        size = torch.empty((), dtype=dtype).element_size()
        values = sum(image.nbytes // _element_size(image) for images in distinct.values() for image in images)
        if device.type != "cpu":
            room = 1.1 * values * size + comfy.model_management.extra_reserved_memory()
            comfy.model_management.free_memory(room, device)
        for images in distinct.values():
            self._patches.terms.on_device(images, device, dtype)

    def _images(self) -> list[Any]:
        return [applied.images_for(index) for applied in self._garments for index in range(self._batch or 1)]

    def _device(self) -> torch.device:
        return self.guider.model_patcher.load_device

    def noise_level(self, sigmas: Tensor) -> float | None:
        """Return σ of a call if a garment has a window or a schedule: the only wait for the device in a step."""
        return float(sigmas.flatten()[0]) if self._timed else None

    def patch(
        self, model: Any, x: Tensor, t: Tensor, context: Tensor | None, options: Options, hooks: ExitStack
    ) -> tuple[Options, dict[str, None]] | None:
        """Return the options of a call with the garments in it, and keywords that tell compiled graphs apart.

        None where no garment acts. Hooks that the call needs are entered into ``hooks``.
        """
        prompts: Prompts | None = options.get(KEY)
        acting = self._acting(model.model_sampling, prompts.sigma if prompts else self.noise_level(t))
        if not acting:
            return None
        if self._uncompiled:
            hooks.enter_context(torch.compiler.set_stance("force_eager"))
            self._say_uncompiled([applied for applied, _ in acting.values()])
        lists = prompts.lists if prompts else () if self.guider is None else prompt_lists_by_id(options, self.guider)
        rows = call_rows(options, lists, len(x), context, self._batch)
        call = ModelCall(rows, x.shape[-2], x.shape[-1], x.device, model.get_dtype_inference())
        unet = getattr(model.diffusion_model, "_orig_mod", model.diffusion_model)  # where it is compiled by now
        own = self._blocks_of(unet)
        # In training ComfyUI's gradient checkpointing gives modules a ``forward`` of its own and calls them again after
        # this call, when no hook is there any more.
        foreign = frozenset[int]() if torch.is_grad_enabled() else foreign_layers(unet, own)
        replaced = options.get("patches_replace", {})
        patches = self._patches.for_call(
            acting, call, replaced.get("attn1", {}), lambda: attentions(model, own), foreign
        )
        self._acted |= patches.acting
        if self._compiled and patches.hooked:
            self._say_not_compiled(patches.hooked)
        else:
            for terms in patches.hooked:
                if terms.attention is not None:
                    add = partial(self._add, unet, acting, call, lists, terms)
                    hooks.enter_context(hooked(own[terms.layer.index], terms.attention, add))
        # A compiled graph is told apart by the names of the keywords that the U-Net gets, and by nothing in its options
        # (TorchCompileModel has all guards on these dropped).
        structure = {f"{KEY}_{patches.structure:x}": None} if self._compiled else {}
        return options | {"patches_replace": replaced | {"attn1": patches.replacements}}, structure

    def _blocks_of(self, unet: Any) -> dict[int, Any]:
        if self._blocks is None or self._blocks[0] is not unet:
            self._blocks = unet, blocks(unet)
        return self._blocks[1]

    def _acting(self, model_sampling: Any, sigma: float | None) -> dict[int, tuple[AppliedGarment, float]]:
        """Return the garments that act at this noise level, by their id, each with its schedule's factor of λ."""
        acting = ((applied, self._factor(applied, model_sampling, sigma)) for applied in self._garments)
        return {id(applied): (applied, factor) for applied, factor in acting if factor}

    def _factor(self, applied: AppliedGarment, model_sampling: Any, sigma: float | None) -> float:
        if sigma is None or _always_the_same(applied):
            return 1.0
        schedule = self._schedule(model_sampling)
        if not schedule.sigma(applied.start_percent) >= sigma > schedule.sigma(applied.end_percent):
            return 0.0
        return 1.0 if applied.schedule is CONSTANT else applied.factor_at(schedule.percent(sigma))

    def _schedule(self, model_sampling: Any) -> NoiseSchedule:
        key = id(model_sampling)
        if key not in self._schedules:
            self._schedules[key] = NoiseSchedule(model_sampling), model_sampling
        return self._schedules[key][0]

    def _add(
        self,
        unet: Any,
        acting: dict[int, tuple[AppliedGarment, float]],
        call: ModelCall,
        lists: Sequence[PromptList],
        terms: LayerTerms,
        z: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        options: Options,
        context: Tensor | None,
    ) -> Tensor:
        """Add a hooked layer's terms to Z. A U-Net of another node may compute only some rows of the call at a time."""
        if is_foreign(unet, "UNetModel") and context is not None and len(context) != len(call.rows):
            if self._part[0] is not context:
                self._part = context, rows_by_context(context, lists, len(context), self._batch)
            garments = [applied for applied, _ in acting.values()]
            terms = self._patches.layer_terms(terms.layer, garments, replace(call, rows=self._part[1]), terms.attention)
        return self._patches.add(terms, z, q, k, v, options)

    def _say_doubts(self) -> None:
        for applied in self._garments:
            text = None if applied.mask is None else doubt(applied.mask, "the garment acts nowhere")
            for one in (text, self._unused(applied)):
                if one:
                    self._patches.terms.said.warn(one, applied.label)

    def _unused(self, applied: AppliedGarment) -> str | None:
        images = len(applied.garment.images) if applied.batch == "one per image" else 1
        masks = 1 if applied.mask is None else len(applied.mask)
        batch = self._batch or 1
        left = [
            f"{count} {things}" for count, things in ((images, "garment images"), (masks, "masks")) if count > batch
        ]
        if not left:
            return None
        return (
            f"Only the first {batch} of {' and of '.join(left)} are used, one for each image of the batch. Give the "
            "latent a larger batch, or the garment fewer."
        )

    def say_options_copied(self) -> None:
        for applied in self._garments:
            self._patches.terms.said.warn(
                "The garment does not act in all of the image: another node samples with options that it copied before "
                "the garment was applied. Put Apply Garment before that node.",
                applied.label,
            )

    def close(self) -> None:
        """Take the wrapper out of other nodes' options, and let the editor drop the warnings of earlier runs."""
        for applied in self._garments:
            self._patches.terms.said.sampled_with(applied.label)
        for wrappers in self.borrowed:
            wrappers.pop(KEY, None)

    def say_what_did_not_act(self, sigmas: Tensor | None) -> None:
        """Say which garments should have acted in the finished run and did not, or not in all of their layers."""
        said, reached = self._patches.terms.said, self._patches.reached
        for applied in self._garments:
            if said.about(applied.label):
                continue
            if not self._should_act(applied, sigmas):
                if id(applied) not in self._acted and self._is_between_steps(applied, sigmas):
                    said.warn(
                        f"The garment acts in no step: {applied.start_percent:g} to {applied.end_percent:g} of the "
                        "sampling lies between two steps of the sampler. Take more steps, or set start_percent and "
                        "end_percent further apart.",
                        applied.label,
                    )
                continue
            layers = [layer for layer in LAYERS if applied.full_strength(layer)]
            missing = [layer for layer in layers if (id(applied), layer.index) not in reached]
            if id(applied) not in self._acted:
                said.warn(
                    "The garment did not act: another node computes the image past the calls that it acts in, as "
                    "caches of the U-Net's inner blocks (DeepCache) do. Sample without that node.",
                    applied.label,
                )
            elif missing and not self._compiled:
                said.warn(
                    f"The garment did not act in {len(missing)} of its {len(layers)} layers: another node computes "
                    "their self-attention without the layer's own projections.",
                    applied.label,
                )

    def _should_act(self, applied: AppliedGarment, sigmas: Tensor | None) -> bool:
        if sigmas is not None and len(sigmas) < 2:  # no step at all, as the first part of sigmas that are split at 0
            return False
        if _always_the_same(applied):
            return True
        if sigmas is None or self.guider is None:
            return False
        return any(self._factor(applied, self._model_sampling(), sigma) for sigma in sigmas[:-1].tolist())

    def _is_between_steps(self, applied: AppliedGarment, sigmas: Tensor | None) -> bool:
        if sigmas is None or self.guider is None:
            return False
        schedule = self._schedule(self._model_sampling())
        first, end = schedule.sigma(applied.start_percent), schedule.sigma(applied.end_percent)
        return any(before > first and end >= after for before, after in pairwise(sigmas.tolist()))

    def _model_sampling(self) -> Any:
        return self.guider.model_patcher.get_model_object("model_sampling")

    def _say_uncompiled(self, garments: Sequence[AppliedGarment]) -> None:
        # Where a graph breaks into pieces, the call's keywords guard only the first. The others would be replayed as
        # they were traced before, with another garment or none.
        for applied in garments:
            self._patches.terms.said.warn(
                "The garment's steps run without torch.compile: ComfyUI's attention on this device breaks the compiled "
                "graph into pieces that cannot follow a garment. Start ComfyUI with --use-pytorch-cross-attention.",
                applied.label,
            )

    def _say_not_compiled(self, hooked_layers: Sequence[LayerTerms]) -> None:
        for label in {term.applied.label for terms in hooked_layers for term in terms.terms}:
            self._patches.terms.said.warn(
                f"The garment does not act in {len(hooked_layers)} layers: another node computes them in its own way, "
                "and a compiled model cannot follow both. Take TorchCompileModel out.",
                label,
            )


def _always_the_same(applied: AppliedGarment) -> bool:
    return applied.schedule is CONSTANT and (applied.start_percent, applied.end_percent) == (0.0, 1.0)


def _element_size(image: Any) -> int:
    return next(iter(next(iter(image.layers.values())).tensors.values())).element_size()
