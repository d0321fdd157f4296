"""How well a measure tells which of two networks of the same data is better on new data.

A pair counts once: its two networks have the same samples and labels, and fit them. The true difference is
that of the accuracies on one test set, and has the noise of that set; no measure can agree with it always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]
Bits = NDArray[np.bool_]
RESAMPLES = 1000
"""Resamples of the families for an interval."""
STEEPEST = 60.0
"""Slopes that are tried, at most, per standard deviation of the difference."""


@dataclass(frozen=True)
class Network:
    """A network, and what is known of it.

    Attributes:
        cell: Name of its samples and labels.
        family: Data sets of one family are left out together.
        noisy: Whether some of the labels are wrong.
        recipe: Name of the recipe without its seed.
        right: Which test samples it gives right, bool [tests].
        train_accuracy: Share of its training labels that it gives.
        measures: Measures by name, larger for a better network.
    """

    cell: str
    family: str
    noisy: bool
    recipe: str
    right: Bits
    train_accuracy: float
    measures: dict[str, float]


@dataclass(frozen=True)
class Pair:
    """Two networks of the same samples and labels.

    Attributes:
        first: One network.
        second: The other.
        difference: Test accuracy of the second minus that of the first.
        error: Its standard error, from the test samples that only one of them gives right.
    """

    first: Network
    second: Network
    difference: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether the difference is larger than twice its standard error."""
        return abs(self.difference) > 2 * self.error


def standard_error(first: Bits, second: Bits) -> float:
    """Return the standard error of the difference of two accuracies on the same samples.

    With b and c of n samples right for only one of the two, √(b + c − (b − c)² / n) / n.
    """
    only = first.astype(np.float64) - second.astype(np.float64)
    return float(only.std() / math.sqrt(len(only)))


def pairs(networks: Sequence[Network], least: float) -> list[Pair]:
    """Return all pairs of networks of one cell that both give at least this share of their labels."""
    found = []
    for cell in dict.fromkeys(one.cell for one in networks):
        fitted = [one for one in networks if one.cell == cell and one.train_accuracy >= least]
        for a, b in combinations(fitted, 2):
            difference = float(b.right.mean() - a.right.mean())
            found.append(Pair(a, b, difference, standard_error(a.right, b.right)))
    return found


def differences(pairs: Sequence[Pair], measure: str) -> Array:
    """Return by how much a measure is larger for the second network, [pairs]; NaN where it is missing."""
    nan = float("nan")
    return np.array(
        [
            float(pair.second.measures.get(measure, nan)) - float(pair.first.measures.get(measure, nan))
            for pair in pairs
        ]
    )


def tau(scores: Array, pairs: Sequence[Pair]) -> float:
    """Return Kendall's τ over pairs of the same data: the share in the right order minus that in the wrong.

    Args:
        scores: Above 0 where the second network is said to be better, [pairs]; NaN where nothing is said,
            which leaves the pair out.
        pairs: The pairs.
    """
    true = np.array([pair.difference for pair in pairs])
    known = np.isfinite(scores)
    return float(np.mean(np.sign(scores[known] * true[known]))) if known.any() else float("nan")


def interval(scores: Array, pairs: Sequence[Pair], minus: Array | None = None) -> tuple[float, float]:
    """Return the 90 % interval of τ when the families are drawn anew, with replacement.

    Args:
        scores: As for `tau`.
        pairs: The pairs.
        minus: Scores by another measure, whose τ is subtracted; None for τ itself.
    """
    families = np.array([pair.first.family for pair in pairs])
    true = np.array([pair.difference for pair in pairs])
    signs = np.sign(scores * true) - (0.0 if minus is None else np.sign(minus * true))
    known = np.isfinite(signs)
    names = sorted(set(families[known]))
    sums = np.array([signs[known & (families == name)].sum() for name in names])
    counts = np.array([(known & (families == name)).sum() for name in names])
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.05, 0.95))
    return float(low), float(high)


def ceiling(pairs: Sequence[Pair]) -> float:
    """Return the τ that the true accuracies themselves would have with those on the test samples.

    In each cell, true differences are taken as N(0, v), v the mean square of the measured ones minus that of
    their standard errors; measured with error s, they have the right sign with τ = (2/π) arcsin
    √(v / (v + s²)).
    """
    total = 0.0
    for cell in {pair.first.cell for pair in pairs}:
        own = [pair for pair in pairs if pair.first.cell == cell]
        errors = np.array([pair.error for pair in own])
        spread = max(0.0, float(np.mean([pair.difference**2 for pair in own]) - np.mean(errors**2)))
        total += float(np.sum(2 / np.pi * np.arcsin(np.sqrt(spread / (spread + errors**2 + 1e-15)))))
    return total / len(pairs)


def fit_slope(rises: Array, pairs: Sequence[Pair]) -> float:
    """Return the slope of the log-odds that the second network is better, by maximum likelihood.

    Every cell weighs the same; pairs of equal test accuracy say nothing.

    Args:
        rises: Difference of the measure, [pairs].
        pairs: The pairs.
    """
    true = np.array([pair.difference for pair in pairs])
    cells = [pair.first.cell for pair in pairs]
    weight = np.array([1 / cells.count(cell) for cell in cells]) * (true != 0)
    signed = rises * np.sign(true)
    scale = float(rises.std()) or 1.0

    def loss(slope: float) -> float:
        return float((weight * np.logaddexp(0, -slope * signed / scale)).sum())

    return float(minimize_scalar(loss, bounds=(0, STEEPEST), method="bounded").x) / scale


def left_out(
    rises: Array, pairs: Sequence[Pair], fit: Callable[[Array, Sequence[Pair]], float] = fit_slope
) -> Array:
    """Return the probability that the second network is better, by the pairs of all other families, [pairs].

    Args:
        rises: Difference of the measure, [pairs].
        pairs: The pairs.
        fit: Returns the slope of the log-odds.
    """
    families = np.array([pair.first.family for pair in pairs])
    probability = np.full(len(pairs), np.nan)
    for family in set(families):
        own = families == family
        rest = [pair for pair, mine in zip(pairs, own, strict=True) if not mine]
        probability[own] = 1 / (1 + np.exp(-fit(rises[~own], rest) * rises[own]))
    return probability


def combined(columns: Array, pairs: Sequence[Pair]) -> Array:
    """Return the same probability by a logistic regression on several measures, without intercept, [pairs].

    Every pair is also its mirror image, and every cell weighs the same.

    Args:
        columns: Differences of the measures, [pairs, measures].
        pairs: The pairs.
    """
    families = np.array([pair.first.family for pair in pairs])
    true = np.array([pair.difference for pair in pairs])
    cells = [pair.first.cell for pair in pairs]
    weight = np.array([len(set(cells)) / cells.count(cell) for cell in cells])
    probability = np.full(len(pairs), np.nan)
    for family in set(families):
        own = families == family
        rest = ~own & (true != 0)
        x = columns / columns[rest].std(0)
        better = true[rest] > 0
        model = LogisticRegression(fit_intercept=False, max_iter=500)
        model.fit(
            np.vstack([x[rest], -x[rest]]),
            np.concatenate([better, ~better]),
            sample_weight=np.tile(weight[rest], 2),
        )
        probability[own] = model.predict_proba(x[own])[:, 1]
    return probability
