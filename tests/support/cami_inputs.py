"""What CAMI is tested on: noise, and a drawn garment beside an image in which it is worn."""

import numpy

from imagdressing_core.metrics.cami import Comparison, compare
from imagdressing_core.metrics.outcome import NoScore, Outcome
from imagdressing_core.metrics.paper import PROTOCOLS, CamiProtocol
from support import drawn

CORRECTED = PROTOCOLS["corrected"]


def noise(height: int = 40, width: int = 36, seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), numpy.uint8)


def dressed(seed: int = 0, protocol: CamiProtocol = CORRECTED) -> Comparison:
    """A drawn garment and an image in which it is worn, with both masks."""
    photograph, mask = drawn.garment(seed)
    image, where = drawn.worn(photograph, mask)
    return compare(photograph, image, mask, where, protocol)


def number(outcome: Outcome) -> float:
    assert not isinstance(outcome, NoScore), outcome
    return outcome
