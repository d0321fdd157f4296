"""The constants of the former formula and of the classes, fitted on the half of the zoo that is for that.

The form was chosen on this half too, by the mean absolute error on families left out: of all formulas of one
to three measured numbers that take no further pass, the mean probability of the answers by layers that did
not bend, the training loss and the number of samples came first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.generalization.former import MAX_AGREEMENT, SAMPLES
from cohaudit.analysis.expected_score import COVERAGE

Array = NDArray[np.float64]


def _inputs(table: pd.DataFrame) -> Array:
    x = table["agreement"].clip(1 - MAX_AGREEMENT, MAX_AGREEMENT)
    loss = np.minimum(table["train_loss"], np.log(table["classes"]))
    decades = np.log10(table["count"].clip(*SAMPLES))
    return np.column_stack([np.ones(len(table)), np.log(x / (1 - x)), loss, decades])


def _fit(table: pd.DataFrame) -> Array:
    inputs = _inputs(table)
    accuracy = table["test_accuracy"].to_numpy()
    start = np.array([0.0, 1, 0, 0])
    return np.asarray(least_squares(lambda b: _odds_to_share(inputs @ b) - accuracy, start).x)


def _odds_to_share(odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-odds)))


def half_width(errors: Array, families: int) -> float:
    """Return the half width that covers a network of a new family with probability `COVERAGE`.

    Hierarchical conformal prediction (Lee, Barber & Willett, arXiv 2306.06342): of K + 1 families of equal
    size the new one's errors may be beyond all others, so that the quantile is (K + 1) / K times as high.

    Args:
        errors: Absolute, of predictions by constants that the family had no part in.
        families: K.
    """
    return float(np.quantile(errors, min(1.0, COVERAGE * (families + 1) / families)))


def left_out(table: pd.DataFrame, predict: Callable[[Array, pd.DataFrame], Array]) -> Array:
    """Return predictions for each family by constants fitted on the other ones."""
    found = np.zeros(len(table))
    for family in table["family"].unique():
        own = (table["family"] == family).to_numpy()
        found[own] = predict(_fit(table[~own]), table[own])
    return found


def fitted_constants(table: pd.DataFrame, classes: pd.DataFrame) -> dict[str, float]:
    """Return the constants and both half widths, from the audited networks of the half for fitting.

    Args:
        table: The networks.
        classes: Their classes.
    """
    fit = table[table["half"] == "fit"].reset_index(drop=True)
    accuracy = left_out(fit, lambda constants, part: _odds_to_share(_inputs(part) @ constants))
    errors = np.abs(accuracy - fit["test_accuracy"].to_numpy())
    families = fit["family"].nunique()
    named = dict(zip(("INTERCEPT", "AGREEMENT", "LOSS", "DECADES"), _fit(fit).tolist(), strict=True))
    own = classes[classes["half"] == "fit"]
    inputs, gap = (_above_mean(own, names) for names in (["accuracy", "agreement"], ["gap"]))
    more = np.linalg.lstsq(inputs, gap[:, 0], rcond=None)[0]
    of_model = own["model"].map(fit.set_index("model")["predicted gap"]).to_numpy()
    off = np.abs(of_model + inputs @ more - own["gap"].to_numpy())
    return named | {
        "left-out mean absolute error": float(errors.mean()),
        "HALF_WIDTH": half_width(errors, families),
        "CLASS_ACCURACY": float(more[0]),
        "CLASS_AGREEMENT": float(more[1]),
        "CLASS_HALF_WIDTH": half_width(off, families),
    }


def _above_mean(classes: pd.DataFrame, names: list[str]) -> Array:
    """Return by how much each class is above its model's mean, [classes, names]."""
    weighted = classes[names].mul(classes["count"], axis=0).groupby(classes["model"]).transform("sum")
    total = classes.groupby("model")["count"].transform("sum")
    return (classes[names] - weighted.div(total, axis=0)).to_numpy()
