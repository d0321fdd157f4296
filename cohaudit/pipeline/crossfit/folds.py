"""The folds of the cross-fit: every class is spread over them, and identical inputs stay together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.errors import ConfigError

Integers = NDArray[np.int64]

MIN_FOLDS = 2
"""Fewest folds: with one, there would be no other to train on."""


def assign_folds(labels: Integers, contents: Sequence[Hashable], count: int, seed: int) -> Integers:
    """Return the fold of each sample, 0 to count − 1, [N].

    Samples with identical inputs are in the same fold: the network that predicts one of them must not have
    been trained on the label of its twin. Group by group, in the order of the classes and at random within a
    class, the fold is the one with the fewest samples of the group's classes, then the one with the fewest
    samples. So, if identical inputs have one label, a class's numbers in two folds differ by at most the size
    of its largest group, and a class of fewer inputs than folds is in as many folds as it has inputs.

    A label affects which samples share a fold, as in every stratified draw, and nothing else.

    Args:
        labels: Class of each sample, [N].
        contents: What identifies the input of each sample, [N].
        count: Number of folds.
        seed: Seed of the draw.

    Raises:
        ConfigError: If there are fewer than two folds, or fewer different inputs than folds.
    """
    members: dict[Hashable, list[int]] = {}
    for position, content in enumerate(contents):
        members.setdefault(content, []).append(position)
    _check_count(count, len(members))
    groups = list(members.values())
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(groups))
    # the largest first within a class: single samples can then level what a large group has left uneven
    order = sorted(shuffled.tolist(), key=lambda place: (labels[groups[place][0]], -len(groups[place])))
    of_class = np.zeros((int(labels.max()) + 1, count), dtype=np.int64)
    sizes = np.zeros(count, dtype=np.int64)
    folds = np.empty(len(labels), dtype=np.int64)
    for place in order:
        own = groups[place]
        classes, numbers = np.unique(labels[own], return_counts=True)
        already = numbers @ of_class[classes]
        fold = int(np.lexsort((sizes, already))[0])
        of_class[classes, fold] += numbers
        sizes[fold] += len(own)
        folds[own] = fold
    return folds


def unseen_samples(labels: Integers, folds: Integers) -> int:
    """Return the number of samples whose class is in no other fold: no network can predict their label.

    Args:
        labels: Class of each sample, [N].
        folds: Fold of each sample, [N].
    """
    counts = np.zeros((int(labels.max()) + 1, int(folds.max()) + 1), dtype=np.int64)
    np.add.at(counts, (labels, folds), 1)
    alone = counts.sum(1) == counts.max(1)
    return int(alone[labels].sum())


def _check_count(count: int, inputs: int) -> None:
    """Raise an error if the samples cannot be divided into so many folds."""
    if count < MIN_FOLDS:
        raise ConfigError(
            f"--crossfit {count}",
            "with one fold there is no other to train on",
            f"give at least {MIN_FOLDS}, usually 5, or 0 to train nothing",
        )
    if count > inputs:
        raise ConfigError(
            f"--crossfit {count}",
            f"the data has {inputs:,} different inputs, fewer than folds",
            f"give at most {inputs:,}, usually 5" if inputs >= MIN_FOLDS else "leave it out",
        )
