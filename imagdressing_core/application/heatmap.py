"""Where in an image a garment acts: how much it adds to the attention, over layers and noise levels."""

from collections.abc import Mapping, Sequence

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

    An image may be asked about several times at one noise level: once for each of several prompts, or in windows that
    overlap. A layer's share is the mean of these. A layer in which the garment does not act counts as a share of zero.

    weights: the weight of each layer by its index; others have none.
    """

    def __init__(self, batch: int, height: int, width: int, weights: Mapping[int, float]) -> None:
        self._weights = weights
        self._sum, self._weight = torch.zeros(batch, height, width), torch.zeros(batch)
        self._level: dict[int, tuple[Tensor, Tensor]] = {}  # layer → (sum of its shares, their number) by image
        self._left_out: dict[int, set[int]] = {}

    def add(self, layer: int, image_indices: Sequence[int], share: Tensor, grid: tuple[int, int]) -> None:
        """Add a layer's share. share: (len(image_indices), tokens); grid: (rows, columns) of the tokens."""
        maps = functional.interpolate(
            share.float().cpu().reshape(-1, 1, *grid), self._sum.shape[-2:], mode="bilinear", align_corners=False
        )
        shares, count = self._level.setdefault(layer, (torch.zeros_like(self._sum), torch.zeros_like(self._weight)))
        images = torch.tensor(image_indices)
        shares.index_add_(0, images, maps[:, 0])
        count.index_add_(0, images, torch.ones(len(images)))

    def leave_out(self, layer: int, image_indices: Sequence[int]) -> None:
        """Leave a layer out of these images at this noise level, unless its share is known from elsewhere."""
        self._left_out.setdefault(layer, set()).update(image_indices)

    def end_level(self) -> None:
        """Count what was added at one noise level, and begin the next."""
        self._weight += sum(self._weights.values())
        for layer, (shares, count) in self._level.items():
            self._sum += self._weights.get(layer, 0.0) * shares / count.clamp_min(1)[:, None, None]
        for layer, images in self._left_out.items():
            known = self._level[layer][1] if layer in self._level else torch.zeros_like(self._weight)
            unknown = [image for image in images if not known[image]]
            self._weight[unknown] -= self._weights.get(layer, 0.0)
        self._level.clear()
        self._left_out.clear()

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
