"""Pooled predictions: weights by hand, and what the pool must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from support.noisy_labels import gaussian_classes

from cohaudit.analysis.label_noise import fit_label_noise
from cohaudit.analysis.pooled_prediction import (
    PooledPrediction,
    calibrated,
    pool_predictions,
)
from cohaudit.analysis.score_rows import SMALLEST_LOG

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)


def sure(classes: Integers, count: int, probability: float = 0.9) -> Array:
    """Return a prediction that gives one class of each sample a probability, and the others the rest."""
    rest = (1 - probability) / (count - 1)
    return rest + (probability - rest) * np.eye(count)[classes]


def random_predictions(seed: int, samples: int = 30, classes: int = 3) -> tuple[list[Array], Integers]:
    """Return four predictions and labels."""
    generator = np.random.default_rng(seed)
    parts = [generator.dirichlet(np.full(classes, 0.5), size=samples) for _ in range(4)]
    return parts, generator.integers(classes, size=samples)


def test_the_weights_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    outside = sure(np.array([0, 0, 1, 0]), 2)  # does not support the last label
    first = sure(np.array([0, 0, 1, 0]), 2, 0.8)  # nor does this layer
    second = sure(labels, 2)  # gives it
    found = pool_predictions([outside], [first, second], labels, outside_weight=2, power=4)
    # squared errors of two classes: 2 · 0.1² for each right sample, 2 · 0.9² for the wrong one, of 4 · ½
    explained_outside = 1 - (3 * 0.02 + 1.62) / 2
    explained_first = 1 - (3 * 0.08 + 1.28) / 2
    explained_second = (1 - 4 * 0.02 / 2) * (1 - 1) ** 4
    layers = np.array([explained_first, explained_second])
    layers *= layers.max() / layers.sum()
    expected = np.array([2 * explained_outside, *layers])
    assert found.weights == pytest.approx(expected / expected.sum())
    assert found.overfit_share.tolist() == [0, 1]
    assert found.disagreements.tolist() == [1, 1]
    logs = [np.log(part) for part in (outside, first, second)]
    assert found.scores == pytest.approx(
        sum(w * log for w, log in zip(expected, logs, strict=True)) / expected.sum()
    )


def test_layers_alone_share_the_weight_of_the_heaviest() -> None:
    labels = np.arange(40) % 2
    good = sure(labels, 2)
    alone = pool_predictions([], [good], labels)
    assert alone.weights == pytest.approx([1])
    assert alone.scores == pytest.approx(np.log(good))
    several = pool_predictions([good], [good, good, good, good], labels, outside_weight=2)
    assert several.weights == pytest.approx([2 / 3, *[1 / 12] * 4])


def test_an_outside_view_wins_over_a_layer_that_has_bent_to_wrong_labels() -> None:
    scores, labels, true = gaussian_classes(0, 4, (0.2, 0.2, 0.2), samples=600)
    outside, bent = np.exp(scores), sure(labels, 3, 0.99)
    found = pool_predictions([outside], [bent], labels)
    wrong = labels != true
    assert found.overfit_share[0] == 1
    assert found.weights[1] < 1e-6
    assert (found.scores.argmax(1)[wrong] == true[wrong]).mean() > 0.98
    # without it, nothing shows that the layer has bent
    assert (pool_predictions([], [bent], labels).scores.argmax(1) == labels).all()


def test_a_label_that_one_prediction_excludes_needs_much_support() -> None:
    labels = np.arange(40) % 2
    impossible = sure(labels, 2, 1.0)
    found = pool_predictions([impossible], [sure(1 - labels, 2, 0.6)], labels)
    assert found.scores.min() >= SMALLEST_LOG
    assert (found.scores.argmax(1) == labels).all()


@quick
@given(seeds)
def test_other_orders_of_samples_and_classes_only_permute_the_pool(seed: int) -> None:
    parts, labels = random_predictions(seed)
    generator = np.random.default_rng(seed)
    order, renamed = generator.permutation(30), generator.permutation(3)
    found = pool_predictions(parts[:1], parts[1:], labels)
    # column renamed[c] is what column c was
    others = [part[order][:, np.argsort(renamed)] for part in parts]
    permuted = pool_predictions(others[:1], others[1:], renamed[labels[order]])
    assert permuted.scores[:, renamed] == pytest.approx(found.scores[order])
    assert permuted.weights == pytest.approx(found.weights)
    assert permuted.disagreements.tolist() == found.disagreements.tolist()


@quick
@given(seeds, st.integers(0, 3))
def test_scores_are_means_of_log_probabilities(seed: int, outside: int) -> None:
    parts, labels = random_predictions(seed)
    found = pool_predictions(parts[:outside], parts[outside:], labels)
    assert len(found.weights) == 4
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights >= 0).all()
    logs = np.maximum(np.log(np.stack(parts)), SMALLEST_LOG)
    assert (found.scores >= logs.min(0) - 1e-9).all()
    assert (found.scores <= logs.max(0) + 1e-9).all()
    # a geometric mean of distributions never sums to more than 1, apart from the floor
    assert (np.exp(found.scores).sum(1) <= 1 + 3 * np.exp(SMALLEST_LOG) + 1e-9).all()


@pytest.mark.parametrize("scale", [0.05, 0.3, 4.0])
def test_the_scale_of_ridge_scores_does_not_matter(scale: float) -> None:
    given = gaussian_classes(3, 3, (0.1, 0.1, 0.1), samples=900)
    ridge = 0.1 * given.scores
    outside = softmax(0.5 * given.scores, axis=1)

    def pooled(scores: Array) -> PooledPrediction:
        return pool_predictions([outside], [calibrated(scores, given.labels)], given.labels)

    found, scaled = pooled(ridge), pooled(scale * ridge)
    # the sharpness is searched in steps
    assert np.exp(scaled.scores) == pytest.approx(np.exp(found.scores), abs=0.02)
    assert scaled.weights == pytest.approx(found.weights, abs=0.01)
    assert pooled(ridge + np.arange(900)[:, None]).scores == pytest.approx(found.scores, abs=1e-6)


def test_calibrated_scores_are_as_sharp_as_the_labels_say() -> None:
    given = gaussian_classes(4, 2, (0.0, 0.0, 0.0), samples=3000)
    found = calibrated(0.2 * given.scores, given.labels)
    assert found == pytest.approx(np.exp(given.scores), abs=0.05)
    assert found.sum(1) == pytest.approx(1)


def test_of_very_many_samples_evenly_spaced_ones_are_enough() -> None:
    given = gaussian_classes(5, 3, (0.1, 0.1), samples=25_000)
    found = calibrated(given.scores, given.labels)
    sharpness = fit_label_noise(given.scores, given.labels).sharpness
    assert found == pytest.approx(softmax(sharpness * given.scores, axis=1), abs=0.03)


def test_labels_that_are_all_equal_give_a_pool() -> None:
    labels = np.zeros(20, dtype=np.int64)
    found = pool_predictions([], [np.full((20, 2), 0.5), np.full((20, 2), 0.5)], labels)
    assert np.isfinite(found.scores).all()
    assert found.weights == pytest.approx([0.5, 0.5])
