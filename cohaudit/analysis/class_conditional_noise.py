"""How many labels of each class are wrong: label noise whose rate depends on the true class.

In one-against-rest data the labels of the rare class are lost far more often than the others; a single rate
would call those labels hard samples.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_noise import SMALLEST_PROBABILITY, LabelNoise
from cohaudit.analysis.score_rows import (
    ScoreRows,
    at,
    is_whole,
    score_blocks,
    stored,
    without,
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
    true: ScoreRows

    def given_at(self, answers: Integers) -> Array:
        """Return the probability of each answer to be given, were labels given anew with as many wrong, [N].

        Args:
            answers: A label of each sample, [N].
        """
        found = np.empty(len(answers))
        astray = self.rates / (self.expected.shape[1] - 1)
        for rows, block in score_blocks(self.expected):
            own = block[np.arange(len(block)), answers[rows]].astype(np.float64)
            elsewhere = block @ astray.astype(block.dtype) - own * astray[answers[rows]]
            found[rows] = own * (1 - self.rates[answers[rows]]) + elsewhere
        return found

    def log_odds_wrong(self, labels: Integers) -> Array:
        """Return the log-odds that each label is wrong, [N]."""
        right = at(self.true, labels)
        odds: Array = np.log(np.maximum(self.others(labels), SMALLEST_PROBABILITY)) - np.log(
            np.maximum(right, SMALLEST_PROBABILITY)
        )
        return odds

    def others(self, labels: Integers) -> Array:
        """Return the probability that another label than the given one is the true one, [N]."""
        found = np.empty(len(labels))
        for rows, block in score_blocks(self.true):
            # 1 − right as the sum of the others: for a nearly certain label, subtraction would give 0
            found[rows] = without(block, labels[rows], 0).sum(1)
        return found


@dataclass(frozen=True)
class TrueLabels:
    """Probability of each true label, the given one considered; computed when asked.

    Attributes:
        expected: Probability of each label before noise is considered, [N, C].
        labels: Given labels, [N].
        rates: Share of each true class's labels that are wrong, [C].
    """

    expected: NDArray[np.floating]
    labels: Integers
    rates: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """N and C."""
        return self.expected.shape

    def __getitem__(self, rows: slice | Integers, /) -> NDArray[np.floating]:
        """Return the probabilities of some samples, [n, C]."""
        block = self.expected[rows]
        places = np.arange(len(block)), self.labels[rows]
        joint = block * (self.rates / (block.shape[1] - 1)).astype(block.dtype)
        joint[places] = block[places] * (1 - self.rates[places[1]])
        floor = max(SMALLEST_PROBABILITY, float(np.finfo(block.dtype).tiny))
        true: NDArray[np.floating] = joint / np.maximum(joint.sum(1, keepdims=True), floor)
        return true


def fit_class_noise(expected: Array, labels: Integers, symmetric: LabelNoise) -> ClassNoise:
    """Fit the noise rate of each class by expectation maximization.

    As in `LabelNoise`, the true label of sample i is t with probability q_it = softmax(β · score_i)_t. The
    given label is the true one with probability 1 − ε_t, and each other one with ε_t / (C − 1)
    (class-conditional noise: Dawid & Skene, Applied Statistics 1979, without the choice of the wrong label).

    Args:
        expected: q, the softmax of the scores, [N, C].
        labels: Given labels, [N].
        symmetric: Fit of one rate to the same scores and labels, which is the prior.
    """
    count, classes = expected.shape
    # no wrong label at all would be a claim that N labels cannot support
    start = max(symmetric.share, 0.5 / count)
    rates = np.full(classes, start)
    for _ in range(EM_STEPS):
        wrong, right = _true_and_false(expected, labels, rates)
        rates = (wrong + PRIOR_SAMPLES * start) / (wrong + right + PRIOR_SAMPLES)
        # above 1 − 1 / C labels would be worse than drawn at random
        rates = np.clip(rates, SMALLEST_RATE, 1 - 1 / classes)
    true: ScoreRows = TrueLabels(expected, labels, rates)
    return ClassNoise(rates, expected, stored(true, "") if is_whole(true.shape) else true)


def _true_and_false(expected: NDArray[np.floating], labels: Integers, rates: Array) -> tuple[Array, Array]:
    """Return how many labels of each true class are expected to be wrong, and how many right, [C] each.

    The probability of the given label is D_i = q_iy (1 − ε_y) + Σ_t≠y q_it ε_t / (C − 1). Class t has
    ε_t / (C − 1) Σ_i q_it / D_i wrong labels, over the samples with another label: one product of q by a
    vector gives D, and one of its transpose the sums.
    """
    classes = expected.shape[1]
    astray = rates / (classes - 1)
    right = 1 - rates
    everywhere, own_class = np.zeros(classes), np.zeros(classes)
    for rows, block in score_blocks(expected):
        label = labels[rows]
        own = block[np.arange(len(block)), label].astype(np.float64)
        given = block @ astray.astype(block.dtype) + own * (right - astray)[label]
        share = 1 / np.maximum(given, SMALLEST_PROBABILITY)
        everywhere += share.astype(block.dtype) @ block
        own_class += np.bincount(label, own * share, minlength=classes)
    # float32 sums of a class's own samples alone may come out larger than those of all
    return np.maximum(everywhere - own_class, 0) * astray, own_class * right
