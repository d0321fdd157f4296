"""The result of an outside view, and the arithmetic of probabilities that its models share.

Arrays: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cohaudit.analysis.score_rows import ScoreRows
from cohaudit.arrays import release

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_LOG_SHARPNESS = 6.0
"""Largest log β tried: a score that leads by 0.1 is then certain, and no score is that precise."""
SMALLEST_PROBABILITY = 1e-12
"""Floor of a probability before its logarithm is taken."""


@dataclass(frozen=True)
class OutsideView:
    """What a model of the raw data predicts for each sample, without the sample's own label.

    Attributes:
        name: The model and what it sees, in words.
        probability: Probability that each label would be given to the sample, [N, C]; rows sum to 1.
    """

    name: str
    probability: Array


@dataclass(frozen=True)
class PooledViews:
    """Several predictions of the same labels as one, a block of samples at a time; see `pool`.

    Attributes:
        parts: Predictions, [N, C] each; at least one.
        votes: Votes behind each, by which it is softened; see `soften`.
    """

    parts: Sequence[ScoreRows]
    votes: Sequence[float]

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self.parts[0].shape

    def __getitem__(self, rows: Any, /) -> Array:
        """Return the probabilities of some samples, [n, C]."""
        found = pool([soften(part[rows], votes) for part, votes in zip(self.parts, self.votes, strict=True)])
        for part in self.parts:
            release(part)
        return found


def soften(probability: Array, votes: float) -> Array:
    """Return probabilities that are never 0: one vote more, spread evenly over all classes, [N, C].

    Args:
        probability: Shares of the votes, [N, C]; rows sum to 1, or to 0 where nobody voted.
        votes: Number of votes behind them.
    """
    # evenly, not by the class shares: these would include the sample's own label
    raised = votes * probability + 1 / probability.shape[1]
    softened: Array = raised / raised.sum(1, keepdims=True)
    return softened


def pool(probabilities: Sequence[Array]) -> Array:
    """Return the normalized geometric mean of several predictions, [N, C].

    The logarithmic opinion pool with equal weights (Genest & Zidek, Statistical Science 1986).

    Args:
        probabilities: Predictions of the same labels, above 0, [N, C] each; at least one.
    """
    mean = np.mean([np.log(probability) for probability in probabilities], axis=0)
    return softmax(mean, 1.0)


def softmax(scores: Array, sharpness: float) -> Array:
    """Return class probabilities from scores: the softmax of β times each, [N, C].

    Args:
        scores: [N, C].
        sharpness: β.
    """
    # relative to the largest score: exp cannot overflow then
    mass = np.exp(sharpness * (scores - scores.max(1, keepdims=True)))
    probability: Array = mass / mass.sum(1, keepdims=True)
    return probability


def fit_sharpness(scores: Array, labels: Integers) -> float:
    """Return the β whose softmax(β · score) has the smallest log loss (temperature scaling).

    Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        scores: Scores that were made without the labels, [N, C].
        labels: [N].
    """
    rows = np.arange(len(labels))

    def log_loss(log_sharpness: float) -> float:
        given = softmax(scores, float(np.exp(log_sharpness)))[rows, labels]
        return -float(np.log(np.maximum(given, SMALLEST_PROBABILITY)).mean())

    found = minimize_scalar(log_loss, bounds=(-MAX_LOG_SHARPNESS, MAX_LOG_SHARPNESS), method="bounded")
    return float(np.exp(found.x))
