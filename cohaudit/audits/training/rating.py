"""How good a checkpoint's predictions are, by models that were never trained with it, and which to keep.

Predictions from the raw data (`analysis.outside_views`) say how probable each label is for a sample, without
its own label: E. With the label as given, and how probably it is wrong, they say how probable it is that each
label is the true one: T. Memorizing lowers E of a checkpoint's answers, whatever it memorizes; T falls
where wrong labels are memorized, and rises with every right one. Neither alone tells when to stop. E blames a
network for knowing more than the models of the raw data do, and T praises it for memorizing errors that
nobody can tell. So they are weighed: g E + (1 − g) T, with g the share of the given labels that the models of
the raw data find, which says how far they can be judges of the network.

Both judge answers to samples that the network was trained on. Its answers to crossed samples (`crossing`) are
the third evidence, of the same weight as both of these together.

The rating is a mean over samples. Checkpoints are told apart by the standard error of their paired
difference; of those that are as good as the best, the latest is taken, since training usually helps.

Arrays: K checkpoints, N samples, M crossed samples, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_verdict import judge_labels
from cohaudit.analysis.outside_views.view import pool

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

FALSE_LEADS = 0.05
"""Share of runs whose checkpoints differ by noise alone in which any of them may pass for better than
another."""

SMALLEST_PROBABILITY = 1e-12
"""Floor of a probability before its logarithm is taken."""


@dataclass(frozen=True)
class LabelBelief:
    """What models of the raw data believe of the labels.

    Attributes:
        expected: E, probability of each label from the other samples, [N, C].
        true_label: T, probability that each label is the true one, the given label considered, [N, C].
        trust: g, how much E counts beside T: the share of the given labels that these models find.
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


def believe(outside: Sequence[Array], labels: Integers) -> LabelBelief:
    """Return what models of the raw data believe of the labels.

    Args:
        outside: Class probabilities that no label of its own sample has a part in, [N, C] each; at least one.
        labels: Given labels, [N].
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
    return LabelBelief(verdict.expected, true_label, float(np.mean(pooled.argmax(1) == labels)))


@dataclass(frozen=True)
class CrossedAccuracy:
    """How the checkpoints classify crossed samples; see `crossing`.

    Attributes:
        samples: Positions of the samples that were crossed, [M].
        share: Share of each sample's crossings that each checkpoint classifies as expected, [K, M].
    """

    samples: Integers
    share: Array


def rate(belief: LabelBelief, predicted: Integers, crossed: CrossedAccuracy | None) -> Array:
    """Return the rating of each checkpoint at each sample, [K, M]; [K, N] without crossed samples.

    Args:
        belief: What models of the raw data believe of the labels.
        predicted: The network's predictions, [K, N].
        crossed: How the checkpoints classify crossed samples; None if samples cannot be crossed.
    """
    own = belief.ratings(predicted)
    return own if crossed is None else (own[:, crossed.samples] + crossed.share) / 2


def latest_as_good(ratings: Array) -> int:
    """Return the latest checkpoint that cannot be told from the best one.

    The best one has to lead by more than any of K equal ones leads any other by chance: Tukey's honestly
    significant difference, for paired differences of many samples.

    Args:
        ratings: Rating of each checkpoint at each sample, [K, N].
    """
    best = int(np.argmax(ratings.mean(1)))
    limit = standard_errors(len(ratings))
    for later in range(len(ratings) - 1, best, -1):
        lead = ratings[best] - ratings[later]
        if lead.mean() <= limit * lead.std() / np.sqrt(len(lead)):
            return later
    return best


@cache
def standard_errors(checkpoints: int) -> float:
    """Return by how many standard errors one of K equal checkpoints may lead another by chance.

    Args:
        checkpoints: K; at least 2.
    """
    # only here: every scan imports this module, and scipy.stats takes a third of a second
    from scipy.stats import studentized_range

    # scipy's range is in standard deviations of one mean, a difference has √2 of them
    return float(studentized_range.ppf(1 - FALSE_LEADS, checkpoints, np.inf)) / math.sqrt(2)
