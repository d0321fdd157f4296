"""Draws the samples to audit under `limit`: each class keeps its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import ConfigError

Integers = NDArray[np.int64]

MIN_DRAWN_PER_CLASS = 2
"""Samples of a class to draw at least: coherence compares the gradients of two samples of one class."""


def choose_samples(labels: Integers, limit: int, seed: int) -> Integers:
    """Return the indices of a stratified subsample, in dataset order.

    Every class keeps its share, but at least two samples, or all if it has fewer. The total is `limit`.

    Args:
        labels: Class numbers, [N].
        limit: Number of samples to draw; 0 for all.
        seed: Seed of the random generator.

    Returns:
        Rising indices into `labels`, [min(limit, N)].

    Raises:
        ConfigError: If `limit` is too small for two samples of every class.
    """
    if not limit or limit >= len(labels):
        return np.arange(len(labels))
    present, sizes = np.unique(labels, return_counts=True)
    minimum = min_samples(sizes)
    if limit < minimum:
        raise ConfigError(
            f"--limit {limit}",
            f"too small: each of {len(present)} classes needs {MIN_DRAWN_PER_CLASS} samples, or all it has",
            f"give at least {minimum}, or 0 for all {len(labels)}",
        )
    generator = np.random.default_rng(seed)
    # one generator for all classes, in their order: the draw depends on nothing but the seed
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(present, _counts(sizes, limit), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def min_samples(sizes: Integers) -> int:
    """Return the smallest `limit` that `choose_samples` accepts.

    Args:
        sizes: Number of samples of each class, [C].
    """
    return int(np.minimum(sizes, MIN_DRAWN_PER_CLASS).sum())


def _counts(sizes: Integers, limit: int) -> Integers:
    """Return how many samples of each class to draw, by the largest remainder method.

    Classes whose share is below the minimum get the minimum first; the others share what is left.
    """
    least = np.minimum(sizes, MIN_DRAWN_PER_CLASS)
    small = np.zeros(len(sizes), dtype=bool)
    # raising one class to its minimum shrinks the other quotas, which can push another class below its own
    while True:
        quotas = (limit - least[small].sum()) * sizes / sizes[~small].sum()
        below = ~small & (quotas < least)
        if not below.any():
            break
        small |= below  # never all classes: `limit` is at least the sum of `least`
    counts: Integers = np.where(small, least, np.floor(quotas)).astype(np.int64)
    remainders = np.where(small, -1, quotas - counts)
    # stable: of equal remainders the lower class number wins, on every machine
    counts[np.argsort(-remainders, kind="stable")[: limit - counts.sum()]] += 1
    return counts
