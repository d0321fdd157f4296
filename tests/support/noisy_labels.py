"""Labels with known errors, and the log-probabilities of the true ones, for Gaussian classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class NoisyLabels(NamedTuple):
    """Samples with given and true labels.

    Attributes:
        scores: Exact log-probability of each true label by the sample alone, [N, C].
        labels: Given labels, [N].
        true: True labels, [N].
    """

    scores: Array
    labels: Integers
    true: Integers

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which given labels are wrong, [N]."""
        return np.asarray(self.labels != self.true)


def gaussian_classes(
    seed: int, separation: float, rates: Sequence[float], *, samples: int = 1500
) -> NoisyLabels:
    """Draw samples of equally large classes, and labels that are wrong at a rate of each class.

    Class t is a Gaussian of variance 1 around `separation` times the t-th unit vector. A wrong label is
    any other one with equal probability.

    Args:
        seed: Seed.
        separation: Distance of the centers from 0; from about 5 on the classes hardly overlap.
        rates: Share of each true class's labels that are wrong, [C].
        samples: N.
    """
    generator = np.random.default_rng(seed)
    classes = len(rates)
    true = generator.permutation(np.arange(samples) % classes)
    x = separation * np.eye(classes)[true] + generator.standard_normal((samples, classes))
    # of two such Gaussians with equal shares, the log-odds are linear in x
    logits = separation * x
    largest = logits.max(1, keepdims=True)
    scores = logits - largest - np.log(np.exp(logits - largest).sum(1, keepdims=True))
    wrong = generator.random(samples) < np.asarray(rates)[true]
    moved = (true + generator.integers(1, classes, size=samples)) % classes
    return NoisyLabels(scores, np.where(wrong, moved, true), true)
