"""How many labels of each class are wrong: label noise whose rate depends on the true class.

In one-against-rest data the labels of the rare class are lost far more often than the others; a single rate
would call those labels hard samples.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_noise import (
    SMALLEST_PROBABILITY,
    LabelNoise,
    expected_labels,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

EM_STEPS = 40
"""Steps of expectation maximization; the likelihood has converged before."""

PRIOR_SAMPLES = 20.0
"""Samples that the rate of all classes together counts as, in the rate of each: a class of a few samples does
not get a rate of its own."""

SMALLEST_RATE = 1e-9
"""Floor of a rate: expectation maximization could never leave 0."""


@dataclass(frozen=True)
class ClassNoise:
    """Noise rates by true class.

    Attributes:
        rates: Share of each true class's labels that are wrong, [C].
        expected: Probability of each label before noise is considered, [N, C].
        true: Probability of each true label, the given one considered, [N, C].
    """

    rates: Array
    expected: Array
    true: Array

    @property
    def given(self) -> Array:
        """Probability of each label to be given, if it were given anew with as many wrong ones, [N, C]."""
        classes = self.expected.shape[1]
        astray: Array = self.expected * self.rates / (classes - 1)
        given: Array = self.expected * (1 - self.rates) + astray.sum(1, keepdims=True) - astray
        return given

    def log_odds_wrong(self, labels: Integers) -> Array:
        """Return the log-odds that each label is wrong, [N]."""
        rows = np.arange(len(labels))
        right = self.true[rows, labels]
        others = self.true.copy()
        others[rows, labels] = 0
        # 1 − right as the sum of the others: for a nearly certain label, subtraction would give 0
        wrong = others.sum(1)
        odds: Array = np.log(np.maximum(wrong, SMALLEST_PROBABILITY)) - np.log(
            np.maximum(right, SMALLEST_PROBABILITY)
        )
        return odds


def fit_class_noise(scores: Array, labels: Integers, symmetric: LabelNoise) -> ClassNoise:
    """Fit the noise rate of each class by expectation maximization.

    As in `LabelNoise`, the true label of sample i is t with probability q_it = softmax(β · score_i)_t. The
    given label is the true one with probability 1 − ε_t, and each other one with ε_t / (C − 1)
    (class-conditional noise: Dawid & Skene, Applied Statistics 1979, without the choice of the wrong label).

    Args:
        scores: Scores, [N, C].
        labels: Given labels, [N].
        symmetric: Fit of one rate to the same scores and labels; its β is used, and its rate is the prior.
    """
    expected = expected_labels(scores, symmetric.sharpness)
    count, classes = expected.shape
    given = np.zeros(expected.shape, dtype=bool)
    given[np.arange(count), labels] = True
    # no wrong label at all would be a claim that N labels cannot support
    start = max(symmetric.share, 0.5 / count)
    rates = np.full(classes, start)
    for _ in range(EM_STEPS):
        true = _true_labels(expected, given, rates)
        wrong = np.where(given, 0, true).sum(0)
        rates = (wrong + PRIOR_SAMPLES * start) / (true.sum(0) + PRIOR_SAMPLES)
        # above 1 − 1 / C labels would be worse than drawn at random
        rates = np.clip(rates, SMALLEST_RATE, 1 - 1 / classes)
    return ClassNoise(rates, expected, _true_labels(expected, given, rates))


def _true_labels(expected: Array, given: NDArray[np.bool_], rates: Array) -> Array:
    """Return the probability of each true label, [N, C]."""
    classes = expected.shape[1]
    joint = expected * np.where(given, 1 - rates, rates / (classes - 1))
    true: Array = joint / np.maximum(joint.sum(1, keepdims=True), SMALLEST_PROBABILITY)
    return true
