"""How good a checkpoint's predictions are, by models that were never trained with it, and which to keep.

Predictions from the raw data (`analysis.outside_views`) say how probable each label is for a sample, without
its own label: E. With the label as given, and how probably it is wrong, they say how probable it is that each
label is the true one: T. Memorizing lowers E of a checkpoint's answers, whatever it memorizes; T falls
where wrong labels are memorized, and rises with every right one. Neither alone tells when to stop. E blames a
network for knowing more than the models of the raw data do, and T praises it for memorizing errors that
nobody can tell. The rating is g E + (1 − g) T: g grows with the share of the given labels that the models of
the raw data find, which says how far they can be judges of the network.

The rating is a mean over samples. Two checkpoints are told apart by the standard error of their paired
difference; of those that are as good as the best, the latest is taken, since training usually helps.

Arrays: K checkpoints, N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_verdict import judge_labels
from cohaudit.analysis.outside_views.view import pool

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

TRUST_POWER = 0.5
"""g is this power of the outside models' accuracy on the given labels; chosen, with every family of data sets
left out in turn, by `python -m benchmarks.audits.stopping`."""

MIN_STANDARD_ERRORS = 2.0
"""Standard errors by which the best checkpoint has to lead a later one to be advised in its place. Among
eight checkpoints that differ by noise alone, the best leads the last by more in fewer than one run in ten."""

SMALLEST_PROBABILITY = 1e-12
"""Floor of a probability before its logarithm is taken."""


@dataclass(frozen=True)
class LabelBelief:
    """What models of the raw data believe of the labels.

    Attributes:
        expected: E, probability of each label from the other samples, [N, C].
        true_label: T, probability that each label is the true one, the given label considered, [N, C].
        trust: g, how much E counts beside T, 0 to 1.
    """

    expected: Array
    true_label: Array
    trust: float

    def ratings(self, predicted: Integers) -> Array:
        """Return the rating of each prediction, [K, N]: its mean over the samples is a checkpoint's.

        Args:
            predicted: The network's predictions, [K, N].
        """
        blended = self.trust * self.expected + (1 - self.trust) * self.true_label
        ratings: Array = blended[np.arange(predicted.shape[1]), predicted]
        return ratings


def believe(outside: Sequence[Array], labels: Integers, power: float = TRUST_POWER) -> LabelBelief:
    """Return what models of the raw data believe of the labels.

    Args:
        outside: Class probabilities that no label of its own sample has a part in, [N, C] each; at least one.
        labels: Given labels, [N].
        power: Power of their accuracy that is g.
    """
    pooled = pool([np.maximum(own, SMALLEST_PROBABILITY) for own in outside])
    verdict = judge_labels(np.log(np.maximum(pooled, SMALLEST_PROBABILITY)), labels)
    rows = np.arange(len(labels))
    others = verdict.expected.copy()
    others[rows, labels] = 0
    # the floor avoids 0 / 0 where the given label is certain
    others /= np.maximum(others.sum(1, keepdims=True), SMALLEST_PROBABILITY)
    true_label = others * verdict.probability[:, None]
    true_label[rows, labels] = 1 - verdict.probability
    accuracy = float(np.mean(pooled.argmax(1) == labels))
    return LabelBelief(verdict.expected, true_label, accuracy**power)


def latest_as_good(ratings: Array, standard_errors: float = MIN_STANDARD_ERRORS) -> int:
    """Return the latest checkpoint that cannot be told from the best one.

    Args:
        ratings: Rating of each prediction, [K, N].
        standard_errors: Standard errors of a paired difference up to which two checkpoints are as good.
    """
    best = int(np.argmax(ratings.mean(1)))
    for later in range(len(ratings) - 1, best, -1):
        lead = ratings[best] - ratings[later]
        if lead.mean() <= standard_errors * lead.std() / np.sqrt(len(lead)):
            return later
    return best
