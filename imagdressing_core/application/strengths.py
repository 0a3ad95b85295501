"""How λ varies: over the layers, by a preset or weights, and over the time of sampling, by a schedule."""

from collections.abc import Mapping, Sequence

from ..errors import IMAGDressingError, shown
from ..model.layers import LAYERS, SelfAttentionLayer

LayerWeights = Mapping[int, float]
"""Factor of λ by layer index (``SelfAttentionLayer.index``)."""

Schedule = Sequence[tuple[float, float]]
"""(position, factor of λ) in order of position, 0 … 1 of the garment's own window; straight lines in between."""

WEAK = 0.2
RUN_ORDER = ("input", "middle", "output")
CONSTANT: Schedule = ((0.0, 1.0),)

SCHEDULES: Mapping[str, Schedule] = {
    "constant": CONSTANT,
    "ease in": ((0.0, 0.0), (1.0, 1.0)),
    "ease out": ((0.0, 1.0), (1.0, 0.0)),
    "ease in-out": ((0.0, 0.0), (0.5, 1.0), (1.0, 0.0)),
}


def _weak(block: str) -> dict[int, float]:
    return {layer.index: WEAK if layer.block[0] == block else 1.0 for layer in LAYERS}


def _levels(*levels: int) -> dict[int, float]:
    return {layer.index: float(layer.level in levels) for layer in LAYERS}


def _eased(schedule: Schedule) -> dict[int, float]:
    """Let a schedule run over the layers in the order in which the U-Net runs them."""

    def when(layer: SelfAttentionLayer) -> tuple[int, int]:
        return RUN_ORDER.index(layer.block[0]), layer.block[1]

    ordered = sorted(LAYERS, key=when)
    return {layer.index: factor_at(schedule, i / (len(ordered) - 1)) for i, layer in enumerate(ordered)}


def factor_at(schedule: Schedule, position: float) -> float:
    """Return the factor of λ at a position, 0 … 1; before the first and after the last point it stays level."""
    before = [point for point in schedule if point[0] <= position]
    after = [point for point in schedule if point[0] > position]
    if not before or not after:
        return (before[-1] if before else after[0])[1]
    (start, from_factor), (end, to_factor) = before[-1], after[0]
    return from_factor + (to_factor - from_factor) * (position - start) / (end - start)


LAYER_PRESETS: Mapping[str, LayerWeights] = {
    "all": {layer.index: 1.0 for layer in LAYERS},
    "texture": _levels(0, 1),
    "shape": _levels(2, 3),
    "weak input": _weak("input"),
    "weak middle": _weak("middle"),
    "weak output": _weak("output"),
    "ease in": _eased(SCHEDULES["ease in"]),
    "ease out": _eased(SCHEDULES["ease out"]),
    "ease in-out": _eased(SCHEDULES["ease in-out"]),
}


def parse_layers(text: str) -> LayerWeights:
    """Read a preset's name, or weights such as ``"0:1.0, 5:0.5"``; layers that are not named get 0.

    Layers are numbered 0 … 15 as in the checkpoint: 0 – 5 down, 6 – 14 up, 15 in the middle.

    Raises:
        IMAGDressingError: neither a preset nor such weights.
    """
    preset = LAYER_PRESETS.get(text.strip().lower())
    if preset is not None:
        return preset
    how = (
        f"give one of {', '.join(LAYER_PRESETS)}, or weights of the layers 0 to {len(LAYERS) - 1} such as 0:1.0, 5:0.5"
    )
    weights = {layer.index: 0.0 for layer in LAYERS}
    for number, factor in _pairs("layers", text, how):
        if number != int(number) or not 0 <= number < len(LAYERS):
            raise IMAGDressingError(f"layers names layer {number:g}, which does not exist; {how}.")
        weights[LAYERS[int(number)].index] = factor
    return weights


def parse_schedule(text: str) -> Schedule:
    """Read a schedule's name, or points such as ``"0:1.0, 0.5:0.3"`` along the garment's window.

    Raises:
        IMAGDressingError: neither a name nor such points.
    """
    preset = SCHEDULES.get(text.strip().lower())
    if preset is not None:
        return preset
    how = (
        f"give one of {', '.join(SCHEDULES)}, or factors of the strength from 0 (start) to 1 (end) such as 0:1, 0.5:0.3"
    )
    points = sorted(_pairs("schedule", text, how))
    for position, _ in points:
        if not 0 <= position <= 1:
            raise IMAGDressingError(f"schedule names position {position:g}, which is outside 0 to 1; {how}.")
    return tuple(points)


def _pairs(socket: str, text: str, how: str) -> list[tuple[float, float]]:
    """Read ``"a:b, c:d"``. Each a may stand once; no number may lie beyond ±100."""
    pairs: dict[float, float] = {}
    for part in text.split(","):
        found = f"{socket} has {shown(part.strip())!r}"
        try:
            key, factor = (float(number) for number in part.split(":"))
        except ValueError:
            raise IMAGDressingError(f"{found}, which cannot be read; {how}.") from None
        if not (abs(key) <= 100 and abs(factor) <= 100):
            raise IMAGDressingError(f"{found}, which is out of range; {how}.")
        if key in pairs:
            raise IMAGDressingError(f"{socket} names {key:g} twice; {how}.")
        pairs[key] = factor
    return list(pairs.items())
