"""Names and shapes of the SD1.5 U-Net in diffusers' format, to judge a file before anything is loaded from it."""

from collections.abc import Iterator

from ..model.layers import LEVEL_CHANNELS

CONTEXT_CHANNELS = 768
LATENT_CHANNELS = 4
TIME_CHANNELS = 4 * LEVEL_CHANNELS[0]
RESNETS_PER_DOWN_BLOCK = 2

NamedShape = tuple[str, tuple[int, ...]]


def unet_shapes() -> dict[str, tuple[int, ...]]:
    """Return the 686 tensors of SD1.5's ``UNet2DConditionModel`` (859,520,964 parameters), name to shape."""
    return dict(_unet())


def _unet() -> Iterator[NamedShape]:
    narrow, *_, wide = LEVEL_CHANNELS
    last_level = len(LEVEL_CHANNELS) - 1
    yield from _convolution("conv_in", LATENT_CHANNELS, narrow, kernel=3)
    yield from _linear("time_embedding.linear_1", narrow, TIME_CHANNELS)
    yield from _linear("time_embedding.linear_2", TIME_CHANNELS, TIME_CHANNELS)

    skips = [narrow]
    channels = narrow
    for level, out_channels in enumerate(LEVEL_CHANNELS):
        block = f"down_blocks.{level}"
        for i in range(RESNETS_PER_DOWN_BLOCK):
            yield from _resnet(f"{block}.resnets.{i}", channels, out_channels)
            channels = out_channels
            skips.append(channels)
            if level != last_level:
                yield from _transformer(f"{block}.attentions.{i}", channels)
        if level != last_level:
            yield from _convolution(f"{block}.downsamplers.0.conv", channels, channels, kernel=3)
            skips.append(channels)

    for i in range(2):
        yield from _resnet(f"mid_block.resnets.{i}", wide, wide)
    yield from _transformer("mid_block.attentions.0", wide)

    for level, out_channels in enumerate(reversed(LEVEL_CHANNELS)):
        block = f"up_blocks.{level}"
        for i in range(RESNETS_PER_DOWN_BLOCK + 1):
            yield from _resnet(f"{block}.resnets.{i}", channels + skips.pop(), out_channels)
            channels = out_channels
            if level != 0:
                yield from _transformer(f"{block}.attentions.{i}", channels)
        if level != last_level:
            yield from _convolution(f"{block}.upsamplers.0.conv", channels, channels, kernel=3)

    yield from _norm("conv_norm_out", narrow)
    yield from _convolution("conv_out", narrow, LATENT_CHANNELS, kernel=3)


def _resnet(name: str, in_channels: int, out_channels: int) -> Iterator[NamedShape]:
    yield from _norm(f"{name}.norm1", in_channels)
    yield from _convolution(f"{name}.conv1", in_channels, out_channels, kernel=3)
    yield from _linear(f"{name}.time_emb_proj", TIME_CHANNELS, out_channels)
    yield from _norm(f"{name}.norm2", out_channels)
    yield from _convolution(f"{name}.conv2", out_channels, out_channels, kernel=3)
    if in_channels != out_channels:
        yield from _convolution(f"{name}.conv_shortcut", in_channels, out_channels, kernel=1)


def _transformer(name: str, channels: int) -> Iterator[NamedShape]:
    block = f"{name}.transformer_blocks.0"
    yield from _norm(f"{name}.norm", channels)
    yield from _convolution(f"{name}.proj_in", channels, channels, kernel=1)
    yield from _convolution(f"{name}.proj_out", channels, channels, kernel=1)
    for attention, context in (("attn1", channels), ("attn2", CONTEXT_CHANNELS)):
        yield f"{block}.{attention}.to_q.weight", (channels, channels)
        yield f"{block}.{attention}.to_k.weight", (channels, context)
        yield f"{block}.{attention}.to_v.weight", (channels, context)
        yield from _linear(f"{block}.{attention}.to_out.0", channels, channels)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _norm(f"{block}.{norm}", channels)
    yield from _linear(f"{block}.ff.net.0.proj", channels, 8 * channels)  # GEGLU: value and gate
    yield from _linear(f"{block}.ff.net.2", 4 * channels, channels)


def _convolution(name: str, in_channels: int, out_channels: int, kernel: int) -> Iterator[NamedShape]:
    yield f"{name}.weight", (out_channels, in_channels, kernel, kernel)
    yield f"{name}.bias", (out_channels,)


def _linear(name: str, in_channels: int, out_channels: int) -> Iterator[NamedShape]:
    yield f"{name}.weight", (out_channels, in_channels)
    yield f"{name}.bias", (out_channels,)


def _norm(name: str, channels: int) -> Iterator[NamedShape]:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)
