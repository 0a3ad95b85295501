"""Where in an image a garment acts: how much it adds to the attention, over layers and noise levels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Black-body colours: dark where nothing acts, through red and yellow to white.
COLOURS = ((0.0, 0.0, 0.0), (0.45, 0.0, 0.35), (0.9, 0.2, 0.1), (1.0, 0.75, 0.1), (1.0, 1.0, 0.85))
OPACITY = 0.8


def garment_share(base: Tensor, added: Tensor) -> Tensor:
    """Return ‖ΔZ‖ / (‖Z‖ + ‖ΔZ‖) for each token, 0 … 1: the part of a layer's attention that is the garment's.

    base: Z without the garment; added: ΔZ, the garment's term; both (batch, tokens, C).
    """
    garment = _norm(added)
    return garment / (_norm(base) + garment).clamp_min(torch.finfo(torch.float32).tiny)


def _norm(tokens: Tensor) -> Tensor:
    return tokens.float().square().sum(dim=-1).sqrt()  # (batch, tokens)


class HeatMap:
    """The weighted mean of many layers' shares of one garment, (batch, height, width) of the latent.

    weight: the sum of the weights of all layers and noise levels. A layer in which the garment does not act counts as
        a share of zero.
    """

    def __init__(self, batch: int, height: int, width: int, weight: float) -> None:
        self._sum = torch.zeros(batch, height, width)
        self._weight = torch.full((batch,), weight)

    def add(self, image_indices: Sequence[int], share: Tensor, grid: tuple[int, int], weight: float) -> None:
        """Add a layer at one noise level. share: (len(image_indices), tokens); grid: (rows, columns) of the tokens."""
        maps = functional.interpolate(
            share.float().cpu().reshape(-1, 1, *grid), self._sum.shape[-2:], mode="bilinear", align_corners=False
        )
        self._sum[list(image_indices)] += weight * maps[:, 0]

    def leave_out(self, image_indices: Sequence[int], weight: float) -> None:
        """Leave out one layer at one noise level because its share is unknown."""
        self._weight[list(image_indices)] -= weight

    @property
    def mean(self) -> Tensor:
        return self._sum / self._weight.clamp_min(torch.finfo(torch.float32).tiny)[:, None, None]


def overlay(images: Tensor, maps: Tensor, brightest: float) -> Tensor:
    """Lay heat maps over images.

    images: (batch, height, width, 3), 0 … 1; maps: (batch, height', width'), in colours up to ``brightest``.
    """
    heat = resized(maps / max(brightest, 1e-6), images.shape[1:3]).clamp(0, 1).unsqueeze(-1)
    colours = torch.tensor(COLOURS)
    position = heat[..., 0] * (len(colours) - 1)
    below = position.floor().long().clamp(max=len(colours) - 2)
    colour = torch.lerp(colours[below], colours[below + 1], (position - below).unsqueeze(-1))
    return torch.lerp(images[..., :3].float().cpu(), colour, OPACITY * heat.sqrt())


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps (batch, height', width') at ``size``, (height, width)."""
    return functional.interpolate(maps.unsqueeze(1), tuple(size), mode="bilinear", align_corners=False)[:, 0]
