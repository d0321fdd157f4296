"""Wrong labels that are no accident: classes that whoever labeled takes for one another.

Where a shirt is often called a coat, wrong labels look like hard samples to all who take errors for drawn at
random. What gives them away: coats that are shirts to every layer, more of them than hard samples explain.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_noise import TINY, LabelNoise, expected_labels
from cohaudit.results.thresholds import MAX_SUSPICION

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_CLASSES = 50
"""Of more classes, too few samples carry each wrong label to tell who is taken for whom."""
FACTORS = (1.0, 1.2, 1.5, 2.0, 2.5)
"""Sharpnesses tried, as multiples of the one that symmetric noise fits: what it takes for hard was wrong."""
STEPS = 30
"""Steps of expectation maximization: the likelihood stands still before."""
MOSTLY_RIGHT = 0.1
ANY_ERROR = 0.02
"""Counts added beforehand, as shares of a class of mean size: to the right labels, and to all wrong ones."""
FEWEST = 50
"""Samples a class, on average, below which chance alone looks like confusion."""
CLEARLY = 0.03
"""Nats per label by which confused classes must explain the labels better than errors at random do, beyond
what fitting more numbers gains by chance. Measured: 0.04 to 0.13 where people labeled, or classes were
confused on purpose; elsewhere at most 0.025."""


@dataclass(frozen=True)
class ClassNoise:
    """Who is taken for whom.

    Attributes:
        transition: Probability of each given label (column) for each true one (row), [C, C].
        true: Probability of each true label, [N, C].
        gain: Nats per label by which this explains the labels better than symmetric noise does.
    """

    transition: Array
    true: Array
    gain: float

    def wrong(self, labels: Integers) -> Array:
        """Return the probability that each label is wrong, [N]."""
        found: Array = np.clip(1 - self.true[np.arange(len(labels)), labels], 0, MAX_SUSPICION)
        return found


def fit_class_noise(scores: Array, labels: Integers, symmetric: LabelNoise) -> ClassNoise | None:
    """Fit who is taken for whom, where that explains the labels clearly better than errors at random.

    As in `LabelNoise`, the true label of sample i is t with probability q_it = softmax(β · score_i)_t; the
    given one is y with probability T_ty (class-conditional noise; Natarajan et al., NeurIPS 2013). T is found
    by expectation maximization, β among multiples of the symmetric fit's.

    Args:
        scores: Leave-one-out scores, [N, C].
        labels: As given, [N].
        symmetric: The fit of errors at random to the same.

    Returns:
        The likeliest fit; None where it does not explain the labels clearly better.
    """
    count, classes = scores.shape
    if classes > MOST_CLASSES or count < FEWEST * classes:
        return None
    fits = [_fitted(expected_labels(scores, symmetric.sharpness * factor), labels) for factor in FACTORS]
    likelihood, transition, true = max(fits, key=lambda fit: fit[0])
    gain = (likelihood - symmetric.log_likelihood) / count
    # C (C − 1) numbers fitted to chance alone gain half as many nats (Wilks, 1938)
    by_chance = classes * (classes - 1) / (2 * count)
    return ClassNoise(transition, true, gain) if gain > CLEARLY + by_chance else None


def _fitted(expected: Array, labels: Integers) -> tuple[float, Array, Array]:
    """Return the log-likelihood, T, and the probability of each true label, at fixed q."""
    count, classes = expected.shape
    given = np.eye(classes)[labels]
    typical = count / classes
    other = 1 - np.eye(classes)
    before = typical * (MOSTLY_RIGHT * np.eye(classes) + ANY_ERROR / (classes - 1) * other)
    transition = 0.95 * np.eye(classes) + 0.05 / (classes - 1) * other
    for _ in range(STEPS):
        joint = expected * transition[:, labels].T
        true = joint / np.maximum(joint.sum(1, keepdims=True), TINY)
        counts = true.T @ given + before
        transition = counts / counts.sum(1, keepdims=True)
    joint = expected * transition[:, labels].T
    total = np.maximum(joint.sum(1, keepdims=True), TINY)
    return float(np.log(total).sum()), transition, joint / total


def most_confused(noise: ClassNoise, count: int) -> list[tuple[int, int, float]]:
    """Return the largest shares of a class that carry another one's label, as (true, given, share)."""
    off = noise.transition.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    pairs = [divmod(int(k), len(off)) for k in order]
    return [(t, g, float(off[t, g])) for t, g in pairs]
