"""Tables, texts and images from which little or nothing can be learned still give a probability a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cohaudit.analysis.outside_views import (
    OutsideView,
    count_ngrams,
    fit_descriptor,
    predict_from_columns,
    predict_from_descriptors,
    predict_from_features,
    predict_from_ngrams,
)
from cohaudit.analysis.outside_views.features import MAX_FEATURES, standardized

RNG = np.random.default_rng(0)


def check(view: OutsideView, samples: int, classes: int) -> NDArray[np.float64]:
    assert view.probability.shape == (samples, classes)
    assert np.isfinite(view.probability).all()
    assert np.allclose(view.probability.sum(1), 1)
    assert view.probability.min() > 0
    return view.probability


@pytest.mark.parametrize("samples", [2, 3, 4, 5, 6, 11])
def test_very_few_samples(samples: int) -> None:
    labels = np.arange(samples) % 2
    rows = RNG.standard_normal((samples, 4)).astype(np.float32)
    check(predict_from_columns(rows, labels, 2, 0), samples, 2)
    check(predict_from_features(rows, labels, 2, "features"), samples, 2)
    check(
        predict_from_ngrams(count_ngrams(np.arange(4 * samples).reshape(samples, 4)), labels, 2, 0),
        samples,
        2,
    )
    pictures = torch.from_numpy(RNG.random((samples, 3, 5, 7), dtype=np.float32))
    check(predict_from_descriptors(fit_descriptor(pictures, 0).describe(pictures), labels, 2), samples, 2)


def test_a_class_of_one_sample_and_one_without_samples() -> None:
    labels = np.array([0, 1] * 30 + [2])
    rows = RNG.standard_normal((61, 3)).astype(np.float32)
    for view in (
        predict_from_columns(rows, labels, 4, 0),
        predict_from_features(rows, labels, 4, "features"),
        predict_from_ngrams(count_ngrams(RNG.integers(0, 9, (61, 5))), labels, 4, 0),
    ):
        probability = check(view, 61, 4)
        # nobody else has this label, and nobody at all has the last one
        assert probability[60, 2] < 0.1
        assert probability[:, 3].mean() < 0.15


def test_a_single_class() -> None:
    labels = np.zeros(20, dtype=np.int64)
    check(predict_from_columns(RNG.standard_normal((20, 3)), labels, 2, 0), 20, 2)


def test_a_fold_of_which_the_rest_has_one_class() -> None:
    labels = np.zeros(50, dtype=np.int64)
    labels[7] = 1
    probability = check(predict_from_columns(RNG.standard_normal((50, 3)), labels, 2, 0), 50, 2)
    assert probability[7, 0] > 0.9


def test_constant_columns_and_missing_numbers() -> None:
    labels = RNG.integers(0, 2, 200)
    rows = np.stack([labels + 0.1 * RNG.standard_normal(200), np.full(200, 7.0), np.full(200, np.nan)], 1)
    rows[::10, 0] = np.nan
    rows[5, 0] = np.inf
    known = np.isfinite(rows[:, 0])
    probability = check(predict_from_columns(rows, labels, 2, 0), 200, 2)
    assert np.mean(probability.argmax(1)[known] == labels[known]) == 1
    scaled = standardized(rows)
    assert np.array_equal(scaled[:, 1:], np.zeros((200, 2)))
    assert np.all(scaled[~known, 0] == 0)
    assert scaled[known, 0].std() == pytest.approx(1, abs=1e-5)


def test_columns_that_are_all_constant_say_nothing() -> None:
    labels = np.arange(100) % 2
    assert np.allclose(check(predict_from_columns(np.ones((100, 2)), labels, 2, 0), 100, 2), 0.5, atol=0.2)
    features = np.ones((100, 2), dtype=np.float32)
    assert np.allclose(check(predict_from_features(features, labels, 2, "same"), 100, 2), 0.5, atol=0.02)


def test_images_of_one_value_say_nothing() -> None:
    pictures = torch.full((30, 1, 9, 9), 0.5)
    described = fit_descriptor(pictures, 0).describe(pictures)
    assert np.isfinite(described).all()
    check(predict_from_descriptors(described, np.arange(30) % 2, 2), 30, 2)


def test_very_long_features_are_projected_and_still_tell_the_classes() -> None:
    labels = np.arange(40) % 2
    rows = RNG.standard_normal((40, MAX_FEATURES + 100)).astype(np.float32)
    rows[:, : MAX_FEATURES // 2] += labels[:, None]
    view = predict_from_features(rows, labels, 2, "long")
    assert np.mean(view.probability.argmax(1) == labels) >= 0.95


def test_many_classes_make_the_trees_cheaper_and_not_useless() -> None:
    labels = np.arange(600) % 30
    rows = np.eye(30)[labels] + 0.1 * RNG.standard_normal((600, 30))
    view = predict_from_columns(rows, labels, 30, 0)
    assert "boosted" not in view.name
    assert np.mean(view.probability.argmax(1) == labels) >= 0.95
