"""The metrics of the paper's result table: CAMI-U, CAMI-S, MP-LPIPS and ImageReward, and the table itself."""
