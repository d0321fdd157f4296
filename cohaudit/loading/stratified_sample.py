"""Which samples `limit` leaves in: each class keeps its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import ConfigError

Integers = NDArray[np.int64]

FEWEST_OF_A_CLASS = 2
"""It takes two samples of a class to agree."""


def choose_samples(labels: Integers, limit: int, seed: int) -> Integers:
    """Return the indices of a stratified subsample, in dataset order.

    Every class keeps its share, but at least two samples (or all it has); never more than `limit` in all.

    Args:
        labels: [N].
        limit: Samples wanted; 0 for all.
        seed: Of the draw.

    Raises:
        ConfigError: When `limit` is too small for two samples of every class.
    """
    if not limit or limit >= len(labels):
        return np.arange(len(labels))
    present, sizes = np.unique(labels, return_counts=True)
    needed = fewest(sizes)
    if limit < needed:
        raise ConfigError(
            f"--limit {limit}",
            f"two samples of each of the {len(present)} classes (one, where there is no more) are {needed}",
            f"give at least {needed}, or 0 for all {len(labels)}",
        )
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(present, _counts(sizes, limit), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def fewest(sizes: Integers) -> int:
    """Return the fewest samples that `choose_samples` can be asked for.

    Args:
        sizes: Samples of each class.
    """
    return int(np.minimum(sizes, FEWEST_OF_A_CLASS).sum())


def _counts(sizes: Integers, limit: int) -> Integers:
    """Return how many of each class to take: by largest remainder, after the small classes have their two."""
    least = np.minimum(sizes, FEWEST_OF_A_CLASS)
    small = np.zeros(len(sizes), dtype=bool)
    while True:
        quotas = (limit - least[small].sum()) * sizes / sizes[~small].sum()
        below = ~small & (quotas < least)
        if not below.any():
            break
        small |= below  # never all of them: `limit` holds at least `least` of each
    counts: Integers = np.where(small, least, np.floor(quotas)).astype(np.int64)
    remainders = np.where(small, -1, quotas - counts)
    counts[np.argsort(-remainders, kind="stable")[: limit - counts.sum()]] += 1
    return counts
