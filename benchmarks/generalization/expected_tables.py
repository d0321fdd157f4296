"""The tables of the expected score: errors by method and by kind of checkpoint, families resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from benchmarks.shared.results import Row

RESAMPLED = 2000
"""Draws of families, with replacement, for the interval of a figure."""
LEVEL = 0.9
"""Coverage of these intervals."""
FITTED = 0.99
"""Training accuracy from which on a network has fitted its labels."""
NEARLY = 0.95
"""Training accuracy from which on it has nearly done so."""


@dataclass(frozen=True)
class Figure:
    """A figure with its interval by resampled families; the interval is NaN for fewer than three.

    Attributes:
        value: Mean, each family counting the same.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """How good an estimate is.

    Attributes:
        checkpoints: Number of checkpoints.
        families: Number of families of data sets.
        error: Mean absolute error.
        bias: Mean of expected minus true accuracy.
        covered: Share of true accuracies within the interval.
        width: Half of the interval, on average.
        tau: Kendall's τ between predicted and true gaps.
    """

    checkpoints: int
    families: int
    error: Figure
    bias: Figure
    covered: Figure
    width: float
    tau: float


def table_of_rows(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a table, with errors and whether the interval holds."""
    table = pd.DataFrame(list(rows))
    # gaps are training accuracy minus score: what the score is too high by, the gap is too low by
    table["off"] = table["true"] - table["predicted"]
    slack = 1e-6
    table["held"] = (table["low"] - slack <= table["true"]) & (table["true"] <= table["high"] + slack)
    table["half"] = (table["high"] - table["low"]) / 2
    return table


def strata(table: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Return parts of the checkpoints by name, those on real data first."""
    real = table[table["kind"] != "synthetic"]
    parts = {
        "all on real data": real,
        f"training accuracy ≥ {NEARLY}": real[real["train_accuracy"] >= NEARLY],
        f"training accuracy ≥ {FITTED}": real[real["train_accuracy"] >= FITTED],
        f"training accuracy < {NEARLY}": real[real["train_accuracy"] < NEARLY],
        "no wrong labels": real[real["wrong labels"] == "none"],
        "planted wrong labels": real[real["wrong labels"] == "planted"],
        "real wrong labels": real[real["wrong labels"] == "real"],
        "wrong labels can be told": real[real["told"]],
        **{f"data: {kind}": own for kind, own in real.groupby("kind")},
        "without Hausa news": real[real["family"] != "hausa news"],
        "synthetic clouds": table[table["kind"] == "synthetic"],
    }
    return {name: part for name, part in parts.items() if len(part)}


def quality(part: pd.DataFrame) -> Quality:
    """Return how good the estimates of some checkpoints are."""
    tau = kendalltau(part["predicted"], part["true"]).statistic if len(part) > 1 else float("nan")
    return Quality(
        checkpoints=len(part),
        families=int(part["family"].nunique()),
        error=resampled(part, part["off"].abs()),
        bias=resampled(part, part["off"]),
        covered=resampled(part, part["held"].astype(float)),
        width=float(part["half"].mean()),
        tau=float(tau),
    )


def resampled(part: pd.DataFrame, values: pd.Series) -> Figure:
    """Return the mean over families, and its interval by families drawn anew.

    Args:
        part: Checkpoints.
        values: A figure of each.
    """
    means = values.groupby(part["family"]).mean().to_numpy()
    if len(means) < 3:
        return Figure(float(means.mean()), float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    drawn = means[rng.integers(len(means), size=(RESAMPLED, len(means)))].mean(1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(means.mean()), float(low), float(high))


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables."""
    table = table_of_rows(rows)
    for labels in ("right", "given"):
        own = table[table["labels"] == labels]
        for name in own["method"].unique():
            printed = Table(
                f"{name}, {labels} labels",
                *("checkpoints", "families", "mean error", "bias", "interval holds", "half width", "τ"),
            )
            for stratum, part in strata(own[own["method"] == name]).items():
                found = quality(part)
                printed.add_row(
                    stratum,
                    f"{found.checkpoints}",
                    f"{found.families}",
                    points_in(found.error),
                    points_in(found.bias, sign=True),
                    percent_in(found.covered),
                    f"{100 * found.width:.1f}",
                    f"{found.tau:.2f}",
                )
            console.print(printed)


def points_in(figure: Figure, *, sign: bool = False) -> str:
    """Write a figure in points, with its interval if it has one."""
    form = "+.1f" if sign else ".1f"
    value, low, high = (f"{100 * end:{form}}".replace("-", "−") for end in _ends(figure))
    return value if np.isnan(figure.low) else f"{value} [{low}, {high}]"


def percent_in(figure: Figure) -> str:
    """Write a figure in percent, with its interval if it has one."""
    value, low, high = (f"{100 * end:.0f}" for end in _ends(figure))
    return f"{value}%" if np.isnan(figure.low) else f"{value}% [{low}, {high}]"


def _ends(figure: Figure) -> tuple[float, float, float]:
    return figure.value, figure.low, figure.high
