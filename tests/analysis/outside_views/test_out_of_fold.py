"""No outside view looks at a sample's own label, and each finds the labels that were flipped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohaudit.analysis.outside_views import (
    OutsideView,
    columns,
    count_ngrams,
    fit_descriptor,
    predict_from_columns,
    predict_from_descriptors,
    predict_from_features,
    predict_from_ngrams,
)
from cohaudit.analysis.outside_views.folds import random_folds

Integers = NDArray[np.int64]
Predict = Callable[[Integers], OutsideView]
CLASSES = 3
SAMPLES = 240


def given_and_true() -> tuple[Integers, Integers]:
    """Return labels of which a fifth is flipped, and the true ones."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, CLASSES, SAMPLES)
    flipped = rng.random(SAMPLES) < 0.2
    return np.where(flipped, (true + rng.integers(1, CLASSES, SAMPLES)) % CLASSES, true), true


LABELS, TRUE = given_and_true()


def from_columns(count: int) -> Predict:
    rng = np.random.default_rng(1)
    rows = 0.5 * rng.standard_normal((SAMPLES, count))
    rows[:, :CLASSES] += 2 * np.eye(CLASSES)[TRUE]
    return lambda labels: predict_from_columns(rows, labels, CLASSES, 0)


def from_wide_columns() -> Predict:
    predict = from_columns(150)

    def without_boosting(labels: Integers) -> OutsideView:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columns, "BOOSTING_WORK", 0)
            return predict(labels)

    return without_boosting


def from_tokens() -> Predict:
    rng = np.random.default_rng(2)
    words = rng.integers(10, 60, (SAMPLES, 12))
    words[:, 3] = 2 + TRUE
    words[:, 9:] = 0
    counts = count_ngrams(words)
    return lambda labels: predict_from_ngrams(counts, labels, CLASSES, 0)


def images() -> torch.Tensor:
    """Return noisy images with a bar whose direction tells the class."""
    x = 0.3 * torch.randn(SAMPLES, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    for place, kind in enumerate(TRUE.tolist()):
        along = torch.arange(2, 10)
        x[place, 0, along if kind else 6, along if kind < 2 else 6] += 2
    return x


def from_images() -> Predict:
    descriptors = fit_descriptor(images(), 0).describe(images())
    return lambda labels: predict_from_descriptors(descriptors, labels, CLASSES)


def from_features() -> Predict:
    rng = np.random.default_rng(4)
    rows = (rng.standard_normal((SAMPLES, 20)) + 3 * np.eye(20)[TRUE]).astype(np.float32)
    return lambda labels: predict_from_features(rows, labels, CLASSES, "features")


NEVER_OWN = {"columns": from_columns(5), "tokens": from_tokens()}
"""Views into which a sample's own label does not enter at all."""
IN_THE_MEAN = {"images": from_images(), "features": from_features(), "wide columns": from_wide_columns()}
"""Views into which it enters by three numbers that all labels decide."""
ALL = NEVER_OWN | IN_THE_MEAN


def flipped(labels: Integers, sample: int) -> Integers:
    changed = labels.copy()
    changed[sample] = (changed[sample] + 1) % CLASSES
    return changed


@pytest.mark.parametrize("name", ALL)
def test_it_finds_the_flipped_labels(name: str) -> None:
    probability = ALL[name](LABELS).probability
    assert probability.shape == (SAMPLES, CLASSES)
    assert probability.dtype == np.float64
    assert probability.min() > 0
    assert np.allclose(probability.sum(1), 1)
    assert np.mean(probability.argmax(1) == TRUE) >= 0.85
    assert roc_auc_score(LABELS != TRUE, -probability[np.arange(SAMPLES), LABELS]) >= 0.95


@pytest.mark.parametrize("sample", [0, 17, 239])
@pytest.mark.parametrize("name", NEVER_OWN)
def test_the_own_label_has_no_part_in_the_own_prediction(name: str, sample: int) -> None:
    before = NEVER_OWN[name](LABELS).probability
    after = NEVER_OWN[name](flipped(LABELS, sample)).probability
    assert np.array_equal(before[sample], after[sample])
    assert not np.array_equal(before, after)  # it does have a part in those of others


@pytest.mark.parametrize("name", IN_THE_MEAN)
def test_the_own_label_moves_the_own_prediction_as_little_as_any_of_n_labels(name: str) -> None:
    for sample in (0, 17, 239):
        before = IN_THE_MEAN[name](LABELS).probability
        after = IN_THE_MEAN[name](flipped(LABELS, sample)).probability
        assert np.abs(before[sample] - after[sample]).max() <= 4 / SAMPLES


@pytest.mark.parametrize("name", ["columns", "tokens", "images"])
def test_it_is_deterministic(name: str) -> None:
    assert np.array_equal(ALL[name](LABELS).probability, ALL[name](LABELS).probability)


def test_a_forest_is_the_same_with_any_number_of_threads() -> None:
    threads = torch.get_num_threads()
    one = NEVER_OWN["columns"](LABELS).probability
    torch.set_num_threads(threads + 1)
    try:
        assert np.array_equal(NEVER_OWN["columns"](LABELS).probability, one)
    finally:
        torch.set_num_threads(threads)


@given(st.integers(3, 60), st.integers(2, 25), st.integers(1, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_folds_are_a_partition_and_are_never_trained_on(
    samples: int, folds: int, rows: int, spare: bool
) -> None:
    made = random_folds(samples, max(folds, 3), rows, 5, spare=spare)
    held = np.concatenate([fold.held for fold in made])
    assert sorted(held.tolist()) == list(range(samples))
    for fold in made:
        assert not set(fold.train) & set(fold.held)
        assert not set(fold.other) & ({*fold.train} | {*fold.held})
        assert 0 < len(fold.train) <= rows
        assert bool(len(fold.other)) is spare
