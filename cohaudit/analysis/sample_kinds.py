"""Kinds of samples: typical, mislabeled, ambiguous, rare, or duplicate.

The kind follows from the label probabilities by the other samples alone. A label that they do not support is
wrong, or correct and one of two likely ones (ambiguous), or correct and unlike anything else (rare).

Arrays: N samples, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.score_rows import ScoreRows, at, score_blocks, without
from cohaudit.results.kinds import DUPLICATE, MISLABELED, SAMPLE_KINDS

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


def kinds_of(
    expected: ScoreRows,
    labels: Integers,
    suspicion: Array,
    suspect: NDArray[np.bool_],
    duplicate_of: Integers,
) -> tuple[NDArray[np.str_], Array]:
    """Return the kind of each sample and its probability.

    A label is wrong with probability s, the suspicion. A correct label is expected by the other samples with
    probability q, and the sample is typical then. Otherwise it is ambiguous to the degree that the two most
    expected labels take all probability, beyond the 2 / C that two labels have by chance, and rare for the
    rest.

    Args:
        expected: Probability of each label from the other samples alone, [N, C].
        labels: Given labels, [N].
        suspicion: Probability of a wrong label, [N].
        suspect: Which samples are mislabeled by the user's threshold, [N]; the others get their most likely
            other kind.
        duplicate_of: Index of a near-duplicate, or −1, [N]; a duplicate is of no other kind, unless it is a
            suspect.

    Returns:
        Names of the kinds, [N], and their probabilities, [N]; 1 for duplicates, which are measured, not
        inferred.
    """
    classes = expected.shape[1]
    own = at(expected, labels)
    two = np.empty(len(labels))
    for rows, block in score_blocks(expected):
        first = block.argmax(1)
        two[rows] = block[np.arange(len(block)), first] + without(block, first, 0).max(1)
    by_chance = 2 / classes
    # of two classes, two labels always take all probability: nothing is rare
    torn = np.clip((two - by_chance) / (1 - by_chance), 0, 1) if classes > 2 else np.ones(len(labels))
    right = 1 - suspicion
    chances = np.stack([right * own, suspicion, right * (1 - own) * torn, right * (1 - own) * (1 - torn)], 1)
    others = chances.copy()
    # the threshold decides who is mislabeled, even if wrong is the likeliest for a sample below it
    others[:, MISLABELED] = -1
    kind = np.where(suspect, MISLABELED, others.argmax(1))
    certainty = chances[np.arange(len(labels)), kind]
    twice = (duplicate_of >= 0) & ~suspect
    return np.array(SAMPLE_KINDS)[np.where(twice, DUPLICATE, kind)], np.where(twice, 1.0, certainty)
