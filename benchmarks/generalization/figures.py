"""Figures of the risk benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt

from benchmarks.shared.figures import save_figure

MAX_MEASURES = 16
"""Largest number of measures drawn."""


def draw(stem: Path, table: pd.DataFrame, scored: Sequence[dict[str, Any]]) -> None:
    """Draw the predicted gap against the measured one, and every measure's τ, as .svg and .png."""
    unseen = table[table["half"] == "unseen"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for family, part in unseen.groupby("family"):
        left.plot(part["gap"], part["predicted gap"], "o", ms=4, alpha=0.8, label=family)
    ends = [unseen["gap"].min() - 0.05, unseen["gap"].max() + 0.05]
    left.plot(ends, ends, color="0.5", lw=1)
    width = float((unseen["high"] - unseen["low"]).mean() / 2)
    left.fill_between(ends, [e - width for e in ends], [e + width for e in ends], color="0.9", zorder=0)
    left.set(
        xlabel="measured gap", ylabel="predicted gap", title="Families never fitted, with the 80 % interval"
    )
    left.legend(fontsize=8)
    shown = list(reversed(scored[:MAX_MEASURES]))
    right.barh([one["measure"] for one in shown], [one["tau"] for one in shown], color="C0")
    right.set(xlabel="Kendall's τ with the gap", title=f"The best {MAX_MEASURES} of {len(scored)} measures")
    save_figure(figure, stem, ("svg", "png"))
