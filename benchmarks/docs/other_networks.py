"""Blocks of docs/risk.md on other networks than those of the verdicts benchmark."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from benchmarks.docs.verdict_tables import markdown
from benchmarks.generalization.expected import ZOO
from benchmarks.generalization.expected_few import FEW
from benchmarks.generalization.expected_flatness import FLAT, FORMULAS
from benchmarks.generalization.expected_tables import (
    FITTED,
    LEVEL,
    RESAMPLED,
    Quality,
    percent_in,
    points_in,
    quality,
    resampled,
    table_of_rows,
)
from benchmarks.generalization.risk import audited_models, class_table
from benchmarks.same_data.comparison import RESULT as SAME_DATA
from benchmarks.shared import paths
from benchmarks.shared.results import read_json, read_rows
from cohaudit.analysis.generalization_gap import CLASS_HALF_WIDTH

RISK = paths.RESULTS / "risk.json"
SCORES = paths.RESULTS / "risk_scores.json"
FITTED_NAME = f"training accuracy ≥ {FITTED}"
"""Name of the stratum of networks that fit their labels."""
FIGURES = ("mean error", "bias", "interval holds", "half width")
"""Titles of the columns of figures."""


def cells(found: Quality) -> list[str]:
    """Return the figures of an estimate as cells of a table."""
    return [
        points_in(found.error),
        points_in(found.bias, sign=True),
        percent_in(found.covered),
        f"{100 * found.width:.1f}",
    ]


def zoo(_: pd.DataFrame) -> str:
    """Return how the shipped constants do on networks of other recipes."""
    # families of the zoo are architectures on a data set: drawn anew, like the others
    table = table_of_rows(read_rows(ZOO))
    small = table["samples"] <= 300
    rows = [
        [name, f"{some.sum()}", *cells(quality(table[some]))]
        for name, some in {
            "all": table["off"].notna(),
            "at most 300 samples": small,
            "more samples": ~small,
            FITTED_NAME: table["train_accuracy"] >= FITTED,
        }.items()
    ]
    return markdown(["networks", "number", *FIGURES], rows)


def flat(_: pd.DataFrame) -> str:
    """Return what flatness adds, on networks of two other collections."""
    table = table_of_rows(read_rows(FLAT))
    fits = table["train_accuracy"] >= 0.99
    other = table["networks"] == "zoo"
    parts = {
        "same data": ~other,
        f"same data, {FITTED_NAME}": ~other & fits,
        "same data, transformers": ~other & table["model"].str.contains("transformer"),
        "zoo": other,
        "zoo, at most 300 samples": other & (table["samples"] <= 300),
        f"zoo, {FITTED_NAME}": other & fits,
        "zoo, transformers": other & table["model"].str.contains("transformer"),
    }
    rows = []
    for name, some in parts.items():
        for method in FORMULAS:
            found = quality(table[some & (table["method"] == method)])
            rows.append([name, method, f"{found.checkpoints}", f"{found.families}", *cells(found)])
    return markdown(["networks", "estimate from", "number", "families", *FIGURES], rows, texts=2)


def few(_: pd.DataFrame) -> str:
    """Return how the shipped constants do on scans of few samples."""
    table = table_of_rows(read_rows(FEW))
    rows = [[f"{samples}", f"{len(own)}", *cells(quality(own))] for samples, own in table.groupby("samples")]
    return markdown(["samples looked at", "networks", *FIGURES], rows)


def former(_: pd.DataFrame) -> str:
    """Return how the former formula did on the half of the zoo that it was not fitted to."""
    rows = [row for row in read_rows(RISK) if row["auditable"] and row["half"] == "unseen"]
    table = pd.DataFrame(rows)
    off = table["predicted gap"] - table["gap"]
    held = (table["low"] <= table["gap"]) & (table["gap"] <= table["high"])
    fitted = table["train_accuracy"] >= 0.99
    tau = kendalltau(table["predicted gap"], table["gap"]).statistic
    error, bias, covered, of_fitted = (
        resampled(table[some], values[some].astype(float))
        for values, some in (
            (off.abs(), off.notna()),
            (off, off.notna()),
            (held, off.notna()),
            (held, fitted),
        )
    )
    return (
        f"On the {len(table)} networks never fitted, the former formula ranked the gaps with Kendall's τ "
        f"{tau:.2f}. Its mean absolute error was {points_in(error)} points, its gaps were {points_in(bias)} "
        f"points too large, and its interval held {percent_in(covered)} of them ({percent_in(of_fitted)} for "
        f"the {int(fitted.sum())} networks that fit 99% of their labels). Brackets and means as above."
    )


def same_data(_: pd.DataFrame) -> str:
    """Return how the score ranks fitted networks of the same data."""
    saved = read_json(SAME_DATA)
    about = next(one for one in saved["strata"] if one["stratum"] == "fitted")
    by = {one["measure"]: one for one in saved["measures"] if one["stratum"] == "fitted"}
    told = ", ".join(
        f"{name} {_ranked(by[measure]['tau'], by[measure]['low'], by[measure]['high'])}"
        for name, measure in (
            ("the expected accuracy", "expected accuracy"),
            ("with flatness", "expected accuracy with flatness"),
            ("flatness alone", "flatness"),
        )
    )
    return (
        f"Fitted networks of the same data ({about['pairs']} pairs of {about['families']} families) are "
        f"ranked with these τ, where {about['ceiling']:.2f} is possible: {told}."
    )


def _ranked(tau: float, low: float, high: float) -> str:
    return f"{tau:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def measures(_: pd.DataFrame) -> str:
    """Return how well each measure ranks the networks of the zoo, with intervals by families drawn anew."""
    table = pd.DataFrame([one for one in read_rows(RISK) if one["auditable"] and one["half"] == "unseen"])
    rows = []
    for one in read_json(SCORES)["measures"]:
        name = one["measure"]
        low, high = ranked_interval(table[name], table["gap"], table["family"])
        shown = "**predicted gap, former formula**" if name == "predicted gap" else name
        others = (one["spearman"], one["granulated"])
        ends = (min(one["families"].values()), one["tau, fit half"])
        rows.append(
            [
                shown,
                _ranked(one["tau"], low, high),
                *(_two(value) for value in others),
                f"{one['information']:.1f}",
                *(_two(value) for value in ends),
            ]
        )
    titles = ["τ [90%]", "Spearman", "granulated", "information, %", "worst family τ", "fit half τ"]
    return markdown(["measure", *titles], rows)


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def ranked_interval(measure: pd.Series, gap: pd.Series, families: pd.Series) -> tuple[float, float]:
    """Return the interval of Kendall's τ when families are drawn anew, with replacement.

    Args:
        measure: Larger for a larger expected gap; NaN where it is not defined.
        gap: True gap.
        families: Family of each network.
    """
    known = measure.notna().to_numpy()
    own = measure.to_numpy(float)[known]
    true = gap.to_numpy(float)[known]
    names, place = np.unique(families.to_numpy(str)[known], return_inverse=True)
    signs = np.sign(own[:, None] - own) * np.sign(true[:, None] - true)
    member: NDArray[np.float64] = np.eye(len(names))[place]
    # sums over the pairs of each two families; a network makes no pair with itself
    agreeing = member.T @ signs @ member
    pairs = member.T @ (1 - np.eye(len(own))) @ member
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLED)
    taus = np.einsum("rf,fg,rg->r", drawn, agreeing, drawn) / np.einsum("rf,fg,rg->r", drawn, pairs, drawn)
    low, high = np.quantile(taus, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def classes(_: pd.DataFrame) -> str:
    """Return how well the gaps of classes were predicted on the half of the zoo that was never fitted."""
    table = class_table(read_json(SCORES)["classes"], audited_models(read_rows(RISK)))
    table = table[table["half"] == "unseen"].reset_index(drop=True)
    off = (table["predicted"] - table["gap"]).abs()
    ranked = spearmanr(table["predicted"], table["gap"]).statistic
    several = [one for _, one in table.groupby("model") if len(one) > 2]
    about = pd.DataFrame({"family": [one["family"].iloc[0] for one in several]})
    within, best = (
        resampled(about, pd.Series([spearmanr(one[a], one[b]).statistic for one in several]))
        for a, b in (("predicted", "gap"), ("gap 0", "gap 1"))
    )
    error = resampled(table, off)
    held = resampled(table, (off <= CLASS_HALF_WIDTH).astype(float))
    return (
        f"Classes: the rank correlation between predicted and measured gaps over all classes of all "
        f"networks is {ranked:.2f}. Within a network of ten classes it is "
        f"{_ranked(within.value, within.low, within.high)} on average, where two halves of the test set "
        f"agree to {_ranked(best.value, best.low, best.high)}. The mean absolute error is {points_in(error)} "
        f"points, and the interval contains {percent_in(held)}."
    )
