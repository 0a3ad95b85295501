"""The model's own schedule as a map from noise level to progress, and back, without waiting for the device."""

import copy
import math
from typing import Any

POINTS = 999
"""ComfyUI counts SD1.5's noise levels from 0 to 999; between two of them log σ is a straight line."""


class NoiseSchedule:
    """``percent_to_sigma`` and its inverse for any ``model_sampling``, also one that a ModelSampling node has set."""

    def __init__(self, model_sampling: Any) -> None:
        # A copy on the CPU: on the GPU every noise level would be a wait for the device.
        self._model_sampling = copy.deepcopy(model_sampling).cpu()
        self._percents: dict[float, float] = {}
        self._sigmas: dict[float, float] = {}

    def sigma(self, percent: float) -> float:
        """Return the noise level at ``percent`` of the sampling, 0 … 1."""
        if percent not in self._sigmas:
            self._sigmas[percent] = float(self._model_sampling.percent_to_sigma(percent))
        return self._sigmas[percent]

    def percent(self, sigma: float) -> float:
        """Return how much of the sampling is over at noise level ``sigma``, 0 … 1."""
        if sigma not in self._percents:
            self._percents[sigma] = self._search(sigma)
        return self._percents[sigma]

    def _search(self, sigma: float) -> float:
        low, high = 0, POINTS  # σ falls from 0 % to 100 %
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._at(middle) >= sigma else (low, middle)
        above, below = self._at(low), self._at(high)
        if not above > below > 0:
            return low / POINTS
        share = (math.log(above) - math.log(min(max(sigma, below), above))) / (math.log(above) - math.log(below))
        return (low + share) / POINTS

    def _at(self, point: int) -> float:
        """Return the noise level at a point; at the two ends ComfyUI gives values beyond the model's own."""
        if point in (0, POINTS):
            return float(self._model_sampling.sigma_min if point else self._model_sampling.sigma_max)
        return self.sigma(point / POINTS)
