"""Folds that do not depend on the labels.

Stratified folds would: a sample's own label would then move it to another fold, and so change what it is
predicted from. A rare class may be missing from a training set here; it gets a probability near 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """A part of the samples, and those that a model for it is trained on.

    Attributes:
        held: Samples to predict.
        train: Samples to train on.
        other: Samples that are neither: for a choice that neither training nor prediction may influence.
    """

    held: Integers
    train: Integers
    other: Integers


def random_folds(samples: int, folds: int, rows: int, seed: int, *, spare: bool = False) -> list[Fold]:
    """Return every fold of a random partition.

    Args:
        samples: Number of samples, at least 3.
        folds: Number of folds; fewer if there are fewer samples.
        rows: Samples to train on, at most.
        seed: Seed of the partition.
        spare: Whether to leave the next fold out of the training too, as `Fold.other`.
    """
    order = np.random.default_rng(seed).permutation(samples)
    parts = [order[start::folds] for start in range(min(folds, samples))]
    made = []
    for place, held in enumerate(parts):
        following = (place + 1) % len(parts)
        left_out = {place, following} if spare else {place}
        train = np.concatenate([part for i, part in enumerate(parts) if i not in left_out])
        # the parts are in random order already, so that the first rows are a random choice
        stride = max(1, -(-len(train) // rows))
        made.append(Fold(held, np.sort(train[::stride]), parts[following] if spare else held[:0]))
    return made
