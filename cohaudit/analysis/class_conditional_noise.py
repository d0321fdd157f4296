"""Label errors that are not random: classes that annotators confuse with each other.

Where annotators often call a shirt a coat, a model of random errors takes those wrong labels for hard
samples. This module finds them: samples labeled coat that every layer takes for shirts, more of them than
hard samples explain.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_noise import (
    MAX_SUSPICION,
    SMALLEST_PROBABILITY,
    LabelNoise,
    expected_labels,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_TRANSITION_CLASSES = 50
"""With more classes, too few samples carry each kind of wrong label to fit a transition matrix."""

SHARPNESS_FACTORS = (1.0, 1.2, 1.5, 2.0, 2.5)
"""Sharpnesses tried, as multiples of the symmetric fit's. Only larger ones: symmetric noise explains confused
labels as hard samples, and so underestimates how sharp the scores are."""

EM_STEPS = 30
"""Steps of expectation maximization; the likelihood has converged before."""

PRIOR_CORRECT = 0.1
"""Pseudo-count of correct labels, as a share of a class of mean size."""

PRIOR_WRONG = 0.02
"""Pseudo-count of all wrong labels of a class together, as a share of a class of mean size."""

MIN_MEAN_CLASS_SIZE = 50
"""Mean samples per class below which chance alone looks like confusion."""

MIN_GAIN = 0.03
"""Nats per label by which confusion must explain the labels better than random errors, beyond what the extra
parameters gain by chance. Measured: 0.04 to 0.13 with human labels or deliberately confused classes, at most
0.025 elsewhere."""


@dataclass(frozen=True)
class ClassNoise:
    """Which classes are confused with which.

    Attributes:
        transition: Probability of each given label (column) for each true label (row), [C, C].
        true: Probability of each true label, [N, C].
        gain: Nats per label by which this explains the labels better than symmetric noise.
    """

    transition: Array
    true: Array
    gain: float

    def wrong(self, labels: Integers) -> Array:
        """Return the probability that each label is wrong, [N]."""
        own = self.true[np.arange(len(labels)), labels]
        wrong: Array = np.clip(1 - own, 0, MAX_SUSPICION)
        return wrong


def fit_class_noise(scores: Array, labels: Integers, symmetric: LabelNoise) -> ClassNoise | None:
    """Fit which classes are confused, if that explains the labels clearly better than random errors.

    As in `LabelNoise`, the true label of sample i is t with probability q_it = softmax(β · score_i)_t. The
    given label is y with probability T_ty (class-conditional noise: Dawid & Skene, Applied Statistics 1979).
    T is fitted by expectation maximization, β chosen among multiples of the symmetric fit's.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: Given labels, [N].
        symmetric: Fit of random errors to the same scores and labels.

    Returns:
        The most likely fit; None if it does not explain the labels clearly better.
    """
    count, classes = scores.shape
    if classes > MAX_TRANSITION_CLASSES or count < MIN_MEAN_CLASS_SIZE * classes:
        return None
    # the scores also change which confusion fits best, so each sharpness gets its own transition matrix
    fits = [
        _fit_transition(expected_labels(scores, symmetric.sharpness * factor), labels)
        for factor in SHARPNESS_FACTORS
    ]
    likelihood, transition, true = max(fits, key=lambda fit: fit[0])
    gain = (likelihood - symmetric.log_likelihood) / count
    # k parameters fitted to chance alone gain k/2 nats on average (Wilks, 1938); here k = C (C − 1)
    by_chance = classes * (classes - 1) / (2 * count)
    return ClassNoise(transition, true, gain) if gain > MIN_GAIN + by_chance else None


def _fit_transition(expected: Array, labels: Integers) -> tuple[float, Array, Array]:
    """Return the log-likelihood, T [C, C] and the true labels' probabilities [N, C], at fixed q [N, C]."""
    count, classes = expected.shape
    given = np.eye(classes)[labels]
    typical = count / classes
    other = 1 - np.eye(classes)
    # pseudo-counts keep the transition of a rare class away from 0 and 1, where EM would be stuck
    prior = typical * (PRIOR_CORRECT * np.eye(classes) + PRIOR_WRONG / (classes - 1) * other)
    # near the identity: EM finds a local maximum, and classes should keep their meaning
    transition = 0.95 * np.eye(classes) + 0.05 / (classes - 1) * other
    for _ in range(EM_STEPS):
        joint = expected * transition[:, labels].T
        true = joint / np.maximum(joint.sum(1, keepdims=True), SMALLEST_PROBABILITY)
        counts = true.T @ given + prior
        transition = counts / counts.sum(1, keepdims=True)
    joint = expected * transition[:, labels].T
    total = np.maximum(joint.sum(1, keepdims=True), SMALLEST_PROBABILITY)
    return float(np.log(total).sum()), transition, joint / total


def most_confused(noise: ClassNoise, count: int) -> list[tuple[int, int, float]]:
    """Return the most frequent confusions as (true class, given class, share of the true class).

    Args:
        noise: Fitted confusions.
        count: Pairs to return, at most.
    """
    off = noise.transition.copy()
    np.fill_diagonal(off, 0)
    # stable, so that equal shares are named in the order of the classes
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    pairs = [divmod(int(k), len(off)) for k in order]
    return [(t, g, float(off[t, g])) for t, g in pairs]
