"""Heat maps: where the garments of a MODEL act in an image that it has made."""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...imagdressing_core.application.heatmap import HeatMap, garment_share
from ...imagdressing_core.application.strengths import LayerWeights
from ...imagdressing_core.errors import IMAGDressingError
from ...imagdressing_core.model.layers import LAYERS, SelfAttentionLayer
from .wrappers import applied_garments, with_garments

GUIDANCE = ("sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function")
"""Keys of a MODEL's options under which nodes change what becomes of the predictions."""


def heat_maps(
    model: ModelPatcher,
    positive: Any,
    latent: Tensor,
    steps: int,
    layers: LayerWeights,
    progress: Callable[[int, int], None],
) -> Tensor:
    """Return each garment's heat map in finished images, (garments, batch, height, width) of the latent, 0 … 1.

    The images get noise of ``steps`` levels, evenly over the sampling, and the model with its garments sees each once.

    Args:
        latent: (batch, 4, height, width), as a sampler gives it.
        layers: the weight of each layer's share in the map.

    Raises:
        IMAGDressingError: the model has no garment, a weight is below zero, or no layer could be watched.
    """
    _require_weights(layers)
    garments = applied_garments(model)
    if not garments:
        raise IMAGDressingError(
            "model has no garment, or only such as never act: connect the MODEL output of Apply Garment, and look at "
            "its strength, start and end."
        )
    height, width = latent.shape[-2:]
    maps = {id(applied): HeatMap(len(latent), height, width, layers) for applied in garments}
    seen = False

    def on_term(
        applied: Any, layer: SelfAttentionLayer, image_indices: Sequence[int], base: Tensor, added: Tensor
    ) -> None:
        nonlocal seen
        heat, grid = maps[id(applied)], layer.grid(height, width)
        # Tokens that are merged or tiled, or those of a prompt for an area.
        if (len(base), base.shape[1]) != (len(image_indices), grid[0] * grid[1]):
            heat.leave_out(layer.index, image_indices)
        elif layers.get(layer.index, 0.0):
            seen = True
            heat.add(layer.index, image_indices, garment_share(base, added), grid)

    def level_done(done: int, total: int) -> None:
        for heat in maps.values():
            heat.end_level()
        progress(done, total)

    _show(with_garments(model, garments, on_term), positive, latent, steps, level_done)
    if not seen:
        raise IMAGDressingError(
            "No garment acts in the chosen layers at any of the steps, or other nodes merge and tile all their tokens "
            "(HyperTile, ToMe), or every prompt is for an area: take more steps, layers = all, the model without those "
            "nodes, or a prompt for the whole image."
        )
    return torch.stack([maps[id(applied)].mean for applied in garments])


def _require_weights(layers: LayerWeights) -> None:
    for number, layer in enumerate(LAYERS):
        weight = layers.get(layer.index, 0.0)
        if weight < 0:
            raise IMAGDressingError(
                f"layers has the weight {weight:g} for layer {number}, and a heat map adds up shares of the attention: "
                "give weights from 0 up."
            )


def _show(
    model: ModelPatcher, positive: Any, latent: Tensor, steps: int, level_done: Callable[[int, int], None]
) -> None:
    """Have the model predict the noise of the images once at each of ``steps`` noise levels."""
    guider = _NoGuidance(model)
    guider.inner_set_conds({"positive": positive})
    guider.set_cfg(1.0)
    model_sampling: Any = model.get_model_object("model_sampling")
    sigmas = torch.tensor([model_sampling.percent_to_sigma((step + 0.5) / steps) for step in range(steps)])
    noise = comfy.sample.prepare_noise(latent, 0)
    guider.sample(noise, latent, _Look(level_done), sigmas, disable_pbar=True, seed=0)


class _NoGuidance(comfy.samplers.CFGGuider):
    """The prediction of the positive prompt alone.

    Guidance nodes (PAG, SAG) would have the model predict more than that, or look for a negative prompt.
    """

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Any:
        options = {key: value for key, value in (model_options or {}).items() if key not in GUIDANCE}
        return super().predict_noise(x, timestep, options, seed)


class _Look(comfy.samplers.Sampler):
    """Shows the model the image at each noise level, and leaves the image as it is."""

    def __init__(self, level_done: Callable[[int, int], None]) -> None:
        self._level_done = level_done

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: Any,
        callback: Any,
        noise: Tensor,
        latent_image: Any = None,
        denoise_mask: Any = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        sampling = model_wrap.inner_model.model_sampling
        for step, sigma in enumerate(sigmas):
            x = sampling.noise_scaling(sigma, noise, latent_image)
            model_wrap(x, sigma.expand(len(x)), **extra_args)
            self._level_done(step + 1, len(sigmas))
        return latent_image
