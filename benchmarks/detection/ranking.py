"""The detection benchmark's tables and figure: who ranks wrong labels best, at which stage, by how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.detection.runs import STAGES
from benchmarks.shared.figures import save_figure
from benchmarks.shared.results import Row

LATE = ("interpolated", "over-trained")
OURS = "cohaudit"
FIVE_CHECKPOINTS = ", 5 checkpoints"
"""End of the names of methods that see five checkpoints of a run, not all of it."""
CELL = ["data", "noise", "model", "stage"]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables."""
    means = _means(rows)
    _methods(means, console)
    _cells(means, console)
    _claims(means, console)
    table = pd.DataFrame(list(rows))
    _verdicts(table[table["method"] == OURS], console)


def _means(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the scores of each method in each cell, the mean over the seeds."""
    scored = pd.DataFrame(list(rows)).dropna(subset=["auroc"])
    return scored.groupby([*CELL, "family", "method"])[["auroc", "ap", "p_at_errors"]].mean().reset_index()


def _methods(means: pd.DataFrame, console: Console) -> None:
    single = means[means["family"] == "single"].copy()
    single["rank"] = single.groupby(CELL)["auroc"].rank(ascending=False, method="min")
    printed = Table("method", "family", title="mean over all cells (rank among single checkpoints)")
    for title in ("AUROC", "AP", "P at errors", "mean rank", "worst rank", *STAGES):
        printed.add_column(title, justify="right")
    order = means.groupby(["family", "method"])["auroc"].mean().sort_values(ascending=False).index
    for family, method in order:
        own = means[(means["family"] == family) & (means["method"] == method)]
        ranks = single.loc[single["method"] == method, "rank"] if family == "single" else None
        stages = own.groupby("stage")["auroc"].mean()
        printed.add_row(
            method,
            family,
            *(f"{own[column].mean():.4f}" for column in ("auroc", "ap", "p_at_errors")),
            *((f"{ranks.mean():.1f}", f"{ranks.max():.0f}") if ranks is not None else ("", "")),
            *(f"{stages[stage]:.3f}" if stage in stages else "" for stage in STAGES),
        )
    console.print(printed)


def _cells(means: pd.DataFrame, console: Console) -> None:
    printed = Table("data", "noise", "model", "stage", title="AUROC by cell")
    for title in ("cohaudit", "best other", "which", "loss", "5 folds", "whole run"):
        printed.add_column(title, justify="left" if title == "which" else "right")
    whole = means[~means["method"].str.endswith(FIVE_CHECKPOINTS)]
    for cell, own in whole.groupby(CELL):
        ours, best, which = _against(own)
        by_method = own.set_index("method")["auroc"]
        family = own.groupby("family")["auroc"].max()
        printed.add_row(
            *map(str, cell),
            f"{ours:.4f}",
            f"{best:.4f}",
            which,
            f"{by_method['loss']:.3f}",
            f"{family['refit']:.3f}",
            f"{family['trajectory']:.3f}",
        )
    console.print(printed)


def _against(own: pd.DataFrame) -> tuple[float, float, str]:
    """Return our AUROC in a cell, the best other one from the same checkpoint, and whose it is."""
    single = own[own["family"] == "single"].set_index("method")["auroc"]
    others = single.drop(OURS)
    return float(single[OURS]), float(others.max()), str(others.idxmax())


def _claims(means: pd.DataFrame, console: Console) -> None:
    """Print the figures that the benchmark is about."""
    behind = []
    cuts = []
    folds = []
    for (*_, stage), own in means.groupby(CELL):
        ours, best, _ = _against(own)
        behind.append(best - ours)
        if stage in LATE:
            cuts.append(1 - (1 - ours) / max(1 - best, 1e-9))
            folds.append(ours - own.loc[own["family"] == "refit", "auroc"].max())
    console.print(f"cells: {len(behind)}; furthest behind the best other of a cell: {max(behind):.4f} AUROC")
    console.print(f"cells more than 0.01 behind: {sum(gap > 0.01 for gap in behind)}")
    if cuts:
        console.print(
            f"interpolated and over-trained: 1 − AUROC is cut by {sum(cuts) / len(cuts):.1%} on average "
            f"against the best other of each cell ({len(cuts)} cells); against cleanlab in five folds "
            f"{sum(folds) / len(folds):+.4f} AUROC"
        )


def _verdicts(ours: pd.DataFrame, console: Console) -> None:
    printed = Table("data", "noise", "model", "stage", title="cohaudit's list of suspects, mean over seeds")
    columns = ("wrong", "share", "suspects", "claim", "precision", "recall", "suggested_right")
    for title in columns:
        printed.add_column(title.replace("_", " "), justify="right")
    for cell, own in ours.groupby(CELL):
        values = own[list(columns)].astype(float).mean()
        printed.add_row(*map(str, cell), *("" if pd.isna(v) else f"{v:.3f}" for v in values))
    console.print(printed)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the AUROC by stage for each data set, as .svg and .png."""
    means = _means(rows)
    chosen = {
        OURS: "#1f77b4",
        "loss": "#d62728",
        "GraNd": "#9467bd",
        "feature kNN 50": "#2ca02c",
        "feature kNN 50, all layers": "#8fd18f",
        "AUM": "#ff7f0e",
        "cleanlab, 5 folds, self confidence": "#7f7f7f",
    }
    data = sorted(means["data"].unique())
    figure, axes = plt.subplots(1, len(data), figsize=(2.6 * len(data), 3.2), squeeze=False, layout="tight")
    for axis, name in zip(axes[0], data, strict=True):
        own = means[means["data"] == name].groupby(["method", "stage"])["auroc"].mean()
        for method, color in chosen.items():
            if method in own.index.get_level_values(0):
                heights = own[method].reindex(STAGES)
                axis.plot(range(len(STAGES)), heights, "o-", color=color, ms=4, label=method)
        axis.set(title=name, xticks=range(len(STAGES)))
        axis.set_xticklabels(STAGES, rotation=45, ha="right", fontsize=8)
    axes[0][0].set_ylabel("AUROC of wrong labels")
    axes[0][0].legend(fontsize=6, loc="lower left")
    save_figure(figure, path, ("svg", "png"))
