"""Narrow networks inside SD1.5's shapes: what is trained here, and the official state dict that computes the same.

A narrow network uses the first few of a layer's channels; in the wide one all others are zero and stay zero, because
SiLU(0) = GELU(0) = 0 and the weights and biases that would fill them are zero. Three things are the wide network's own:

- GroupNorm takes its statistics over the wide network's groups, in which unused channels count as zeros.
- LayerNorm takes its statistics over all wide channels.
- A head of attention lies at the start of one of the 8 wide heads; the wide softmax is scaled by less, which the
  weights of the queries make up for.

Transformers at the finest level have no part (``IDLE``): their wide weights are zero, so that the 1,280 tokens of a
256 × 320 image need not attend to each other in training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

from imagdressing_core.model.layers import LAYERS

NARROW, WIDE = (40, 60, 64, 64), (320, 640, 1280, 1280)  # equal where the wide ones are: no shortcut there
HEADS, WIDE_HEADS = (2, 2, 4, 4), 8
CONTEXT, WIDE_CONTEXT = 64, 768
GROUPS = 32
IDLE = ("down_blocks.0.attentions", "up_blocks.3.attentions")
IDLE_LAYERS = tuple(layer.index for layer in LAYERS if layer.level == 0)
CONDITION, WIDE_CONDITION = (16, 24, 32, 48), (16, 32, 96, 256)  # what a ControlNet reads its image with
VAE_NARROW, VAE_WIDE = (8, 16, 32, 32), (128, 256, 512, 512)


@dataclass(frozen=True)
class Run:
    """Channels that are concatenated: ``used`` narrow ones, in the place of ``wide``."""

    used: int
    wide: int


class NarrowGroupNorm(nn.Module):
    """GroupNorm of the wide channels, given those in use."""

    group: Tensor

    def __init__(self, runs: Sequence[Run], eps: float) -> None:
        super().__init__()
        used, wide = positions(runs), sum(run.wide for run in runs)
        self.weight, self.bias = nn.Parameter(torch.ones(len(used))), nn.Parameter(torch.zeros(len(used)))
        self.eps, self.size = eps, wide // GROUPS
        _, group, counts = torch.tensor([i // self.size for i in used]).unique(return_inverse=True, return_counts=True)
        self.register_buffer("group", group, persistent=False)
        self.groups = len(counts)
        self.whole = bool((counts == self.size).all())

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, used, …)."""
        if self.whole:
            return group_norm(x, self.groups, self.weight, self.bias, self.eps)
        pixels = tuple(range(2, x.ndim))
        mean, square = x.mean(pixels), self._mean_of_groups(x.square().mean(pixels))  # (batch, used), (batch, groups)
        mean = self._mean_of_groups(mean)
        scale = (square - mean.square() + self.eps).rsqrt()[:, self.group] * self.weight
        shift = self.bias - mean[:, self.group] * scale
        shape = (*scale.shape, *[1] * (x.ndim - 2))
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    def _mean_of_groups(self, channels: Tensor) -> Tensor:
        """Return means over groups in which unused channels are zero, (batch, groups)."""
        return channels.new_zeros(len(channels), self.groups).index_add(1, self.group, channels) / self.size


class NarrowLayerNorm(nn.Module):
    """LayerNorm of ``wide`` channels of which the first ``used`` are in use."""

    def __init__(self, used: int, wide: int, eps: float) -> None:
        super().__init__()
        self.share, self.eps = used / wide, eps
        # As if it had been taken over the channels in use: zeros make the spread small and what is divided by it large.
        self.weight, self.bias = nn.Parameter(torch.full((used,), self.share**0.5)), nn.Parameter(torch.zeros(used))

    def forward(self, x: Tensor) -> Tensor:
        """x: (…, used)."""
        mean = self.share * x.mean(-1, keepdim=True)
        square = self.share * x.square().mean(-1, keepdim=True)
        return (x - mean) * (square - mean.square() + self.eps).rsqrt() * self.weight + self.bias


class IdleTransformer(nn.Module):
    """Stands where a transformer has no part; ``transformer_blocks`` keep their names for hybrid attention."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer_blocks = transformer.transformer_blocks

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
        return (hidden_states,)


class UnreadBlock(nn.Module):
    """Stands where the garment U-Net's finest block was: no transformer with a part comes after its input."""

    has_cross_attention = True

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.attentions, self.resnets = block.attentions, block.resnets

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states[:, : NARROW[0]]


class ConstantContext(nn.Module):
    """Stands for the Q-Former, and says the same of every garment: the garment U-Net learns to do without CLIP."""

    latents: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("latents", torch.ones(1, 1, CONTEXT), persistent=False)

    def forward(self, clip_hidden: Tensor) -> Tensor:
        return self.latents.expand(len(clip_hidden), -1, -1)


def narrow_unet() -> Any:
    """Return an untrained U-Net of NARROW channels; its context has 64 channels."""
    return _narrowed(unet(NARROW, 4, HEADS, CONTEXT), _wide(lambda: unet(WIDE, GROUPS, WIDE_HEADS, WIDE_CONTEXT)))


def narrow_garment_unet() -> Any:
    """Return an untrained garment U-Net, which ends where nothing more is read of it."""
    garment_unet = narrow_unet()
    garment_unet.up_blocks[-1] = UnreadBlock(garment_unet.up_blocks[-1])
    return garment_unet


def narrow_controlnet() -> Any:
    """Return an untrained ControlNet of NARROW channels without transformers: it need not read the prompt."""
    narrow = _narrowed(controlnet(NARROW, 4, HEADS, CONTEXT, CONDITION), _wide(wide_controlnet))
    for block in (*narrow.down_blocks[:-1], narrow.mid_block):
        for number, transformer in enumerate(block.attentions):
            block.attentions[number] = IdleTransformer(transformer)
            del block.attentions[number].transformer_blocks
    return narrow


def narrow_decoder() -> Any:
    """Return an untrained VAE of VAE_NARROW channels, of which only the decoder is meant to be trained."""
    return _narrowed(vae(VAE_NARROW, 4, attends=False), _wide(wide_vae))


def unet(channels: Sequence[int], groups: int, heads: int | Sequence[int], context: int) -> Any:
    from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=tuple(channels),  # pyright: ignore[reportArgumentType]
        norm_num_groups=groups,
        attention_head_dim=heads,  # pyright: ignore[reportArgumentType]
        cross_attention_dim=context,
    )


def controlnet(
    channels: Sequence[int], groups: int, heads: int | Sequence[int], context: int, condition: Sequence[int]
) -> Any:
    from diffusers import ControlNetModel  # pyright: ignore[reportPrivateImportUsage]

    return ControlNetModel(
        block_out_channels=tuple(channels),  # pyright: ignore[reportArgumentType]
        norm_num_groups=groups,
        attention_head_dim=heads,  # pyright: ignore[reportArgumentType]
        cross_attention_dim=context,
        conditioning_embedding_out_channels=tuple(condition),  # pyright: ignore[reportArgumentType]
    )


def vae(channels: Sequence[int], groups: int, attends: bool = True) -> Any:
    from diffusers import AutoencoderKL  # pyright: ignore[reportPrivateImportUsage]

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        block_out_channels=tuple(channels),  # pyright: ignore[reportArgumentType]
        layers_per_block=2,
        norm_num_groups=groups,
        mid_block_add_attention=attends,
    )


def wide_unet() -> Any:
    return unet(WIDE, GROUPS, WIDE_HEADS, WIDE_CONTEXT)


def wide_controlnet() -> Any:
    return controlnet(WIDE, GROUPS, WIDE_HEADS, WIDE_CONTEXT, WIDE_CONDITION)


def wide_vae() -> Any:
    return vae(VAE_WIDE, GROUPS)


def positions(runs: Sequence[Run]) -> list[int]:
    """Return the wide channels in use where runs are concatenated."""
    used: list[int] = []
    start = 0
    for run in runs:
        used += range(start, start + run.used)
        start += run.wide
    return used


def skip_runs(narrow: Sequence[int] = NARROW, wide: Sequence[int] = WIDE) -> dict[str, list[Run]]:
    """Return {resnet of a U-Net that reads a skip connection: [the stream's channels, the skip's]}."""
    levels = [Run(used, whole) for used, whole in zip(narrow, wide, strict=True)]
    skips = [levels[0]]
    for level, run in enumerate(levels):
        skips += [run, run] + ([run] if level < len(levels) - 1 else [])
    found: dict[str, list[Run]] = {}
    stream = levels[-1]
    for level, run in enumerate(reversed(levels)):
        for number in range(3):
            found[f"up_blocks.{level}.resnets.{number}"] = [stream if number == 0 else run, skips.pop()]
        stream = run
    return found


def is_idle(key: str) -> bool:
    """Return whether a tensor of a U-Net or of a garment model has no part in any result."""
    index = key.removeprefix("adapter_modules.").partition(".")[0]
    is_unread = key.startswith(("ref_unet.up_blocks.3.", "ref_unet.conv_norm_out.", "ref_unet.conv_out."))
    return is_unread or any(name in key for name in IDLE) or (index.isdigit() and int(index) in IDLE_LAYERS)


def _wide(build: Any) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return dict(build().named_modules())


def _narrowed(narrow: Any, wide: Mapping[str, nn.Module]) -> Any:
    """Let a network's normalisation be that of the wide one, its timesteps too, and its finest transformers idle."""
    skips = skip_runs()
    for name, module in list(narrow.named_modules()):
        parent, _, leaf = name.rpartition(".")
        whole: Any = wide.get(name)
        if isinstance(module, nn.GroupNorm):
            plain = [Run(module.num_channels, whole.num_channels)]
            runs = skips.get(parent, plain) if leaf == "norm1" and len(wide) and "time_proj" in wide else plain
            setattr(narrow.get_submodule(parent), leaf, NarrowGroupNorm(runs, module.eps))
        elif isinstance(module, nn.LayerNorm):
            used, width = module.normalized_shape[0], whole.normalized_shape[0]
            setattr(narrow.get_submodule(parent), leaf, NarrowLayerNorm(used, width, module.eps))
    if "time_proj" in wide:
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps

        narrow.time_proj = Timesteps(WIDE[0], True, 0)
        narrow.time_embedding = TimestepEmbedding(WIDE[0], 4 * NARROW[0])
    for name in IDLE:
        if name in wide:
            transformers = narrow.get_submodule(name)
            for number, transformer in enumerate(transformers):
                transformers[number] = IdleTransformer(transformer)
    return narrow
