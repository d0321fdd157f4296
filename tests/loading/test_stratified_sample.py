"""The subsample that `limit` leaves: each class keeps its share, and at least two samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.errors import ConfigError
from cohaudit.loading.stratified_sample import choose_samples


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12), st.integers(1, 400))
def test_a_subsample_is_as_large_as_the_limit_says(sizes: list[int], limit: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    needed = sum(min(size, 2) for size in sizes)
    if limit < min(needed, len(labels)):
        with pytest.raises(ConfigError, match=rf"give at least {needed}, or 0 for all"):
            choose_samples(labels, limit, seed=0)
        return
    counts = np.bincount(labels[choose_samples(labels, limit, seed=0)])
    assert counts.sum() == min(limit, len(labels))
    assert (counts >= np.minimum(sizes, 2)).all()
    assert (counts <= sizes).all()
    shares = limit * np.array(sizes) / len(labels)
    assert (counts <= np.maximum(np.ceil(shares), 2)).all()


def test_stratified_choice_keeps_every_class() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 9 + [3])
    chosen = choose_samples(labels, 100, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [88, 9, 2, 1]
    assert (np.diff(chosen) > 0).all()
    assert (choose_samples(labels, 100, seed=0) == chosen).all()
    assert (choose_samples(labels, 100, seed=1) != chosen).any()
    assert len(choose_samples(labels, 0, seed=0)) == len(choose_samples(labels, 1000, seed=0)) == 1000
