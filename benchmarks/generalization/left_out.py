"""Estimates of an accuracy whose constants are chosen on other families of data sets.

Constants minimize the mean absolute error, each group of data sets counting the same: squared errors would be
ruled by the few checkpoints whose wrong labels nobody can tell. The half width of the interval is the
(K + 1) / K · 80 % quantile of the errors on K groups, each family left out once: hierarchical conformal
prediction (Lee, Barber & Willett, arXiv 2306.06342), whose guarantee would need groups that are drawn at
random, and a form of the estimate that was not chosen on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.expected_score import COVERAGE, MAX_SUPPORT

Array = NDArray[np.float64]
Names = NDArray[np.str_]

STEPS = 200
"""Steps of the fit at most; it has converged before."""
SMALLEST_STEP = 1e-6
"""Change of the constants below which it has converged."""
SMALLEST_ERROR = 0.005
"""Errors below this count as squared, so that the fit converges; half a point."""
DAMPING = 0.7
"""Part of each step that is made."""


@dataclass(frozen=True)
class Estimator:
    """An estimate with its interval.

    Attributes:
        constants: Of the log-odds: a constant term and a slope of each input; empty for an estimate that is
            an input as it is.
        half_width: Half of the interval.
    """

    constants: Array
    half_width: float

    def estimate(self, inputs: Array, offset: Array | float = 0.0) -> Array:
        """Return the estimated accuracies, [K], from inputs, [K, I], and what is added to the log-odds."""
        return predict(inputs, self.constants, offset)


def log_odds(share: Array) -> Array:
    """Return the log-odds of shares, which are clipped like the support."""
    clipped = np.clip(share, 1 - MAX_SUPPORT, MAX_SUPPORT)
    odds: Array = np.log(clipped / (1 - clipped))
    return odds


def predict(inputs: Array, constants: Array, offset: Array | float = 0.0) -> Array:
    """Return σ(b₀ + Σ b_k x_k + offset), or the only input as it is if there are no constants, [K]."""
    if not len(constants):
        return inputs[:, 0]
    estimates: Array = 1 / (1 + np.exp(-(constants[0] + inputs @ constants[1:] + offset)))
    return estimates


def fit(inputs: Array, accuracy: Array, weights: Array) -> Array:
    """Return the constants with the smallest weighted mean absolute error, by reweighted least squares.

    Args:
        inputs: Inputs of the log-odds, [K, I].
        accuracy: True accuracies, [K].
        weights: Weights, [K].
    """
    x = np.column_stack([np.ones(len(inputs)), inputs])
    constants = np.zeros(x.shape[1])
    for _ in range(STEPS):
        estimates = predict(inputs, constants)
        errors = accuracy - estimates
        each = weights / np.maximum(np.abs(errors), SMALLEST_ERROR)
        jacobian = x * (estimates * (1 - estimates))[:, None]
        curvature = jacobian.T @ (jacobian * each[:, None]) + 1e-6 * np.eye(len(constants))
        step = DAMPING * np.linalg.solve(curvature, jacobian.T @ (each * errors))
        constants += step
        if np.abs(step).max() < SMALLEST_STEP:
            break
    return constants


def weights_of(groups: Names) -> Array:
    """Return the weight of each checkpoint: all groups count the same."""
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights: Array = 1 / counts[place]
    return weights


def half_width(errors: Array, groups: Names) -> float:
    """Return the half width that four in five checkpoints of a new group should lie within.

    Args:
        errors: Absolute errors, each by constants that its family had no part in, [K].
        groups: Group of each checkpoint, [K].
    """
    weights = weights_of(groups)
    count = len(np.unique(groups))
    order = np.argsort(errors)
    mass = np.cumsum(weights[order]) / weights.sum()
    place = int(np.searchsorted(mass, min(1.0, COVERAGE * (count + 1) / count)))
    return float(errors[order][min(place, len(errors) - 1)])


@dataclass(frozen=True)
class Known:
    """Checkpoints whose accuracy is known.

    Attributes:
        inputs: Inputs of an estimate, [K, I].
        accuracy: True accuracies, [K].
        families: What is left out together, [K].
        groups: What counts the same, [K]; never more than a family.
        offset: What is added to the log-odds of the estimate, but not when constants are fitted, [K].
        fitted: Whether constants are fitted; if not, the only input is the estimate.
    """

    inputs: Array
    accuracy: Array
    families: Names
    groups: Names
    offset: Array
    fitted: bool = True

    def without(self, family: str) -> Known:
        """Return the checkpoints of all other families."""
        return self.only(self.families != family)

    def only(self, some: NDArray[np.bool_]) -> Known:
        """Return some checkpoints."""
        return Known(
            inputs=self.inputs[some],
            accuracy=self.accuracy[some],
            families=self.families[some],
            groups=self.groups[some],
            offset=self.offset[some],
            fitted=self.fitted,
        )

    def constants(self) -> Array:
        """Return the constants that all of them choose."""
        return fit(self.inputs, self.accuracy, weights_of(self.groups)) if self.fitted else np.empty(0)

    def choose(self) -> Estimator:
        """Return the estimator that all of them choose."""
        estimates = self.each_left_out(lambda rest: rest.constants())
        return Estimator(self.constants(), half_width(np.abs(estimates - self.accuracy), self.groups))

    def each_left_out(self, choose: Callable[[Known], Array]) -> Array:
        """Return the estimate of each checkpoint by what the other families choose, [K]."""
        found = np.zeros(len(self.accuracy))
        for family in np.unique(self.families):
            own = self.families == family
            found[own] = predict(self.inputs[own], choose(self.without(str(family))), self.offset[own])
        return found

    def left_out(self) -> Sequence[Estimator]:
        """Return the estimator of each checkpoint, chosen by the other families: constants and width, [K]."""
        by_family = {str(name): self.without(str(name)).choose() for name in np.unique(self.families)}
        return [by_family[str(name)] for name in self.families]
