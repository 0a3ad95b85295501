"""The columns of the paper's result table, and the terms that CAMI is the sum of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of the result table.

    terms: the terms whose sum it is. higher_is_better: the direction of its arrow.
    """

    name: str
    terms: tuple[str, ...]
    higher_is_better: bool = True

    @property
    def heading(self) -> str:
        return f"{self.name} {'↑' if self.higher_is_better else '↓'}"


CAMI_U_TERMS = ("structure", "texture", "keypoints")
CAMI_S_TERMS = (*CAMI_U_TERMS, "pose", "face", "text")

# Table 2 of arXiv 2407.12705v2, in its order.
COLUMNS = (
    Column("ImageReward", ("image_reward",)),
    Column("MP-LPIPS", ("mp_lpips",), higher_is_better=False),
    Column("CAMI-U", CAMI_U_TERMS),  # equation 1
    Column("CAMI-S", CAMI_S_TERMS),  # equation 2
)
TERMS = tuple(dict.fromkeys(term for column in COLUMNS for term in column.terms))
