"""What kind of sample it is: one the others speak for, or mislabeled, ambiguous, rare, or there twice.

Read off what the other samples expect of it, and nothing else: a label that they do not give is wrong,
torn between two, or of a sample that they know nothing about.

Arrays: N samples, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.results.kinds import DUPLICATE, MISLABELED, SAMPLE_KINDS

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


def kinds_of(
    expected: Array, labels: Integers, suspicion: Array, suspect: NDArray[np.bool_], duplicate_of: Integers
) -> tuple[NDArray[np.str_], Array]:
    """Tell the kinds of samples apart.

    A label is wrong with probability s, the suspicion. A right one is expected by the others with probability
    q, and typical then; otherwise it is ambiguous as far as the two labels that they expect most take all
    their expectation, beyond what two of C labels have by chance, and rare for the rest.

    Args:
        expected: Probability of each label by the other samples alone, [N, C].
        labels: As given, [N].
        suspicion: Of a wrong label, [N].
        suspect: Who is mislabeled by the user's threshold, [N]; of the others, the likeliest other kind.
        duplicate_of: Index of a near-duplicate, or −1, [N]; a duplicate that is no suspect is no other kind.

    Returns:
        The name of each kind, [N], and its probability, [N]; 1 for duplicates: they are seen, not inferred.
    """
    classes = expected.shape[1]
    own = expected[np.arange(len(labels)), labels]
    two = np.sort(expected, axis=1)[:, -2:].sum(1)
    by_chance = 2 / classes
    torn = np.clip((two - by_chance) / (1 - by_chance), 0, 1) if classes > 2 else np.ones(len(labels))
    right = 1 - suspicion
    chances = np.stack([right * own, suspicion, right * (1 - own) * torn, right * (1 - own) * (1 - torn)], 1)
    others = chances.copy()
    others[:, MISLABELED] = -1
    kind = np.where(suspect, MISLABELED, others.argmax(1))
    certainty = chances[np.arange(len(labels)), kind]
    twice = (duplicate_of >= 0) & ~suspect
    return np.array(SAMPLE_KINDS)[np.where(twice, DUPLICATE, kind)], np.where(twice, 1.0, certainty)
