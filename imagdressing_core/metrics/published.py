"""The numbers that the paper reports, as data with their source."""

from collections.abc import Mapping
from dataclasses import dataclass

PAPER = "arXiv 2407.12705v2"
NO_CAMI_S = "the paper leaves it empty: “incompatible with several plugins”"


@dataclass(frozen=True)
class PublishedRow:
    """A method's row in a table of the paper: values by column, and why a column is empty."""

    table: str
    method: str
    values: Mapping[str, float]
    gaps: Mapping[str, str]


def _row(table: str, method: str, *values: float | None) -> PublishedRow:
    """Return a row from the values in the paper's order of columns; None is an empty cell."""
    columns = ("ImageReward", "MP-LPIPS", "CAMI-U", "CAMI-S")
    cells = dict(zip(columns, values, strict=True))
    return PublishedRow(
        table,
        method,
        values={column: value for column, value in cells.items() if value is not None},
        gaps={column: NO_CAMI_S for column, value in cells.items() if value is None},
    )


BASELINES, ABLATION = "Table 2", "Table 3"

PUBLISHED = (
    _row(BASELINES, "BLIP-Diffusion", -2.224, 0.1824, 1.051, None),
    _row(BASELINES, "Versatile Diffusion", -2.055, 0.4321, 1.253, None),
    _row(BASELINES, "IP-Adapter", -2.267, 0.4093, 1.381, None),
    _row(BASELINES, "MagicClothing", -0.164, 0.1499, 1.655, 2.692),
    _row(BASELINES, "IMAGDressing-v1", -0.095, 0.1466, 1.753, 2.719),
    _row(ABLATION, "A0 base", -0.245, 0.1537, 1.575, 2.578),
    _row(ABLATION, "A1 base + IEB", -0.178, 0.1504, 1.637, 2.625),
    _row(ABLATION, "A2 base + IEB + HA", -0.095, 0.1466, 1.753, 2.719),
)
