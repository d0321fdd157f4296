"""The tables of the verdicts benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.shared.results import Row
from benchmarks.verdicts.fit import CLAIM_ERROR, LONG_LIST
from benchmarks.verdicts.opinions import ALONE, OURS, VARIANTS

CELL = ["dataset", "noise", "model", "stage", "seed"]
LOSS = "loss"
KNN = "feature kNN 50"
FOLDS = "cleanlab, 5 folds, self confidence"
BEHIND = 0.01
"""AUROC by which a method may be behind another one."""


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables."""
    table = pd.DataFrame(list(rows))
    _methods(table, console)
    _cells(table, console)
    for variant in VARIANTS:
        _verdicts(table[table["method"] == variant], variant, console)
    _reviews(table[table["method"] == OURS], console)
    _lists(table[table["method"] == OURS], console)


def _methods(table: pd.DataFrame, console: Console) -> None:
    printed = Table("method", title="mean over the cells: AUROC / average precision")
    groups = {"all": table, **{str(name): own for name, own in table.groupby("kind")}}
    groups |= {str(name): own for name, own in table[table["kind"] != "synthetic"].groupby("stage")}
    for name in groups:
        printed.add_column(name, justify="right")
    means = {name: own.groupby("method")[["auroc", "ap"]].mean() for name, own in groups.items()}
    for method in means["all"].sort_values("auroc", ascending=False).index:
        cells = [
            f"{own.loc[method, 'auroc']:.3f} / {own.loc[method, 'ap']:.3f}" if method in own.index else ""
            for own in means.values()
        ]
        printed.add_row(str(method), *cells)
    console.print(printed)


def _cells(table: pd.DataFrame, console: Console) -> None:
    real = table[table["kind"] == "real"]
    pivot = real.pivot_table("auroc", CELL, "method")
    printed = Table(*CELL, title="AUROC by cell with real noise")
    columns = [OURS, ALONE, LOSS, KNN, FOLDS]
    for name in columns:
        printed.add_column(name, justify="right")
    for cell, own in pivot.iterrows():
        printed.add_row(*map(str, cell), *(f"{own[name]:.3f}" for name in columns))
    console.print(printed)
    better = pivot[[LOSS, KNN]].max(axis=1)
    for name in (OURS, ALONE):
        behind = int(((better - pivot[name]) > BEHIND).sum())
        ahead = int((pivot[name] >= pivot[FOLDS]).sum())
        console.print(
            f"{name}: {behind} of {len(pivot)} cells with real noise are over {BEHIND} behind the better "
            f"of loss and kNN; {ahead} are at least as good as 5 folds"
        )


def _verdicts(ours: pd.DataFrame, name: str, console: Console) -> None:
    long = ours[ours["suspects"] >= LONG_LIST]
    error = (long["claimed"] - long["precision"]).abs()
    holds = (ours["share_lower"] <= ours["share_true"] + 1e-9) & (
        ours["share_upper"] >= ours["share_true"] - 1e-9
    )
    by_kind = ", ".join(f"{kind} {own.mean():.0%}" for kind, own in holds.groupby(ours["kind"]))
    told = ours["told"].astype(bool)
    console.print(
        f"{name}: the verdict can be told in {int(told.sum())} of {len(ours)} cells; {len(long)} lists of "
        f"{LONG_LIST} and more: claimed precision within {CLAIM_ERROR} in "
        f"{(error <= CLAIM_ERROR).mean():.0%}, mean error {error.mean():.3f}, mean recall "
        f"{long['recall'].mean():.2f}; the interval of the share holds in {holds.mean():.0%} ({by_kind})"
    )


def _reviews(ours: pd.DataFrame, console: Console) -> None:
    error = ours["reviewed_error"]
    holds = (ours["reviewed_lower"] <= ours["share_true"]) & (ours["reviewed_upper"] >= ours["share_true"])
    long = ours[ours["reviewed_suspects"] >= LONG_LIST]
    claims = (long["reviewed_claimed"] - long["reviewed_precision"]).abs()
    by_kind = ", ".join(f"{kind} {own.mean():.3f}" for kind, own in error.groupby(ours["kind"]))
    console.print(
        f"after 50 reviews: calibration error {error.mean():.3f} on average ({by_kind}), at most "
        f"{CLAIM_ERROR} in {(error <= CLAIM_ERROR).mean():.0%} of the cells, largest {error.max():.3f}; the "
        f"interval of the share holds in {holds.mean():.0%}; {len(long)} lists of {LONG_LIST} and more, the "
        f"claimed precision within {CLAIM_ERROR} in {(claims <= CLAIM_ERROR).mean():.0%}"
    )


def _lists(ours: pd.DataFrame, console: Console) -> None:
    printed = Table(*CELL, title="cohaudit's verdicts, by constants that other data sets chose")
    columns = ["share_true", "share_lower", "share", "share_upper", "determined", "suspects", "claimed"]
    columns += ["precision", "recall", "calibration_error"]
    for name in columns:
        printed.add_column(name.replace("_", " "), justify="right")
    for _, own in ours.iterrows():
        values = ["" if pd.isna(own[name]) else f"{own[name]:.3g}" for name in columns]
        printed.add_row(*(str(own[name]) for name in CELL), *values)
    console.print(printed)
