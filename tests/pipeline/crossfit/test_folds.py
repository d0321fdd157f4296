"""Folds: a partition that spreads every class, and keeps identical inputs together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.errors import ConfigError
from cohaudit.pipeline.crossfit.folds import assign_folds, unseen_samples

COUNTS = st.integers(2, 7)
SEEDS = st.integers(0, 2**32 - 1)


def labels_of(sizes: list[int], seed: int) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), COUNTS, SEEDS)
def test_folds_spread_every_class_evenly(sizes: list[int], count: int, seed: int) -> None:
    labels = labels_of(sizes, seed)
    if len(labels) < count:
        return
    folds = assign_folds(labels, range(len(labels)), count, seed)
    assert set(folds.tolist()) == set(range(count)), "each sample is in one fold, and no fold is empty"
    table = np.zeros((len(sizes), count), int)
    np.add.at(table, (labels, folds), 1)
    assert (table.max(1) - table.min(1) <= 1).all()
    assert np.bincount(folds).max() - np.bincount(folds).min() <= len(sizes)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=20, max_size=60), COUNTS, SEEDS)
def test_identical_inputs_share_a_fold(samples: list[tuple[int, int]], count: int, seed: int) -> None:
    labels = np.array([label for label, _ in samples])
    contents = [content for _, content in samples]
    if len(set(contents)) < count:
        with pytest.raises(ConfigError, match="fewer than folds"):
            assign_folds(labels, contents, count, seed)
        return
    folds = assign_folds(labels, contents, count, seed)
    assert set(folds.tolist()) == set(range(count))
    assert len({*zip(contents, folds.tolist(), strict=True)}) == len(set(contents))


def test_the_seed_decides_and_nothing_else() -> None:
    labels = labels_of([20, 30, 50], 1)
    first, again, other = (assign_folds(labels, range(100), 5, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_class_of_one_input_cannot_be_predicted() -> None:
    labels = np.array([0] * 8 + [1] * 3 + [2])
    contents = [*range(8), 100, 100, 100, 200]  # class 1 is one input three times
    folds = assign_folds(labels, contents, 3, 0)
    assert unseen_samples(labels, folds) == 4
    assert unseen_samples(labels[:8], folds[:8]) == 0


@pytest.mark.parametrize(
    ("count", "samples", "found"), [(1, 9, "no other to train on"), (10, 9, "9 different inputs")]
)
def test_too_few_and_too_many_folds_are_refused(count: int, samples: int, found: str) -> None:
    with pytest.raises(ConfigError, match=found) as refused:
        assign_folds(np.zeros(samples, int), range(samples), count, 0)
    assert refused.value.where == f"--crossfit {count}"
