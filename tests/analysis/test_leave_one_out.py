"""Leave-one-out prediction by the layers' views: against refits, and on blobs with moved labels."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohaudit.analysis.label_verdict import judge_labels
from cohaudit.analysis.leave_one_out import Suspicion, leave_one_out, suspect_labels
from cohaudit.analysis.pooled_prediction import calibrated, pool_predictions

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Float32 = NDArray[np.float32]

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)


class Refit(NamedTuple):
    """The ridge regression without each sample, and how it would predict a target that is 1 everywhere."""

    scores: Array
    ones: Array


def refitted(features: Float32, labels: Integers, classes: int, ridge: float) -> Refit:
    """Solve the ridge regression once without each sample.

    Held fixed, as all samples make them: the center of the features, and the class shares.
    """
    x = features.astype(np.float64) - features.astype(np.float64).mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.eye(classes)[labels]
    share = y.mean(0)
    scores, ones = np.zeros((len(x), classes)), np.zeros(len(x))
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        gram = x[rest].T @ x[rest] + ridge * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x[rest].T)
        scores[i] = x[i] @ weights @ (y[rest] - share) + share
        ones[i] = (x[i] @ weights).sum()
    return Refit(scores, ones)


class Problem(NamedTuple):
    """Arguments of `leave_one_out`, with one regularization."""

    features: Float32
    labels: Integers
    classes: int
    ridge: float


def problem(seed: int, samples: int = 15, size: int = 4, classes: int = 3, ridge: float = 0.5) -> Problem:
    """Return a random problem."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(samples, size)).astype(np.float32)
    return Problem(features, generator.integers(classes, size=samples), classes, ridge)


def scores_of(given: Problem) -> Array:
    return leave_one_out(given.features, given.labels, given.classes, (given.ridge,)).scores


@quick
@given(seeds, st.integers(3, 20), st.integers(1, 25), st.integers(2, 5), st.floats(0.01, 100))
def test_scores_are_those_of_a_refit_without_each_sample(
    seed: int, samples: int, size: int, classes: int, ridge: float
) -> None:
    given = problem(seed, samples, size, classes, ridge)
    assert scores_of(given) == pytest.approx(refitted(*given).scores, rel=1e-7, abs=1e-7)


@quick
@given(seeds, st.integers(0, 14))
def test_a_label_reaches_its_own_scores_through_the_class_shares_alone(seed: int, i: int) -> None:
    given = problem(seed)
    relabeled = given.labels.copy()
    relabeled[i] = (given.labels[i] + 1) % given.classes
    moved = scores_of(given._replace(labels=relabeled))[i] - scores_of(given)[i]
    share = 1 / len(given.labels)
    swapped = np.eye(given.classes)[relabeled[i]] - np.eye(given.classes)[given.labels[i]]
    assert moved == pytest.approx(share * swapped * (1 - refitted(*given).ones[i]), abs=1e-9)


@quick
@given(seeds, st.sampled_from([1e-25, 1e-12, 1.0, 1e12]), st.floats(-2, 2))
def test_scores_do_not_depend_on_rotation_shift_scale_or_order(seed: int, scale: float, shift: float) -> None:
    given = problem(seed)
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(4, 4)))
    order = generator.permutation(15)
    features = ((given.features @ rotation + shift) * scale).astype(np.float32)[order]
    changed = Problem(features, given.labels[order], given.classes, given.ridge)
    assert scores_of(changed) == pytest.approx(scores_of(given)[order], abs=1e-4)


def test_class_names_in_another_order_permute_the_scores() -> None:
    given = problem(1)
    renamed = scores_of(given._replace(labels=(given.labels + 1) % 3))
    assert renamed == pytest.approx(np.roll(scores_of(given), 1, axis=1))


def test_the_scores_of_a_sample_sum_to_one() -> None:
    assert scores_of(problem(2)).sum(1) == pytest.approx(np.ones(15))


def test_equal_features_score_as_the_class_shares() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = leave_one_out(np.full((6, 3), 0.1, np.float32), labels, 3).scores
    assert scores == pytest.approx(np.tile([3 / 6, 2 / 6, 1 / 6], (6, 1)))


def test_the_regularization_with_the_smallest_error_is_chosen() -> None:
    given = problem(4, samples=60)
    y = np.eye(3)[given.labels]
    errors = {
        ridge: np.square(scores_of(given._replace(ridge=ridge)) - y).sum()
        for ridge in (0.1, 1.0, 10.0, 100.0)
    }
    found = leave_one_out(given.features, given.labels, 3, tuple(errors))
    assert found.ridge == min(errors, key=lambda ridge: errors[ridge])
    assert found.scores == pytest.approx(scores_of(given._replace(ridge=found.ridge)))


def test_a_view_that_overfit_the_labels_counts_for_nothing() -> None:
    features, labels, true = blobs(2, (120, 120, 120), flipped=0.2)
    overfit = np.eye(3, dtype=np.float32)[labels] + 0.01 * features[:, :3]
    alone, both = suspects([overfit], labels, 3), suspects([features, overfit], labels, 3)
    wrong = labels != true
    assert (alone.suggested == labels).all()
    assert both.weights[1] < 0.01
    assert both.evidence[wrong].max() < np.quantile(both.evidence[~wrong], 0.05)


# Suspects


def suspects(views: list[Float32], labels: Integers, classes: int) -> Suspicion:
    """Judge the labels by some views in a network that fits them all."""
    return suspect_labels(views, labels, np.eye(classes)[labels])


class Blobs(NamedTuple):
    """Gaussian blobs, one a class, with some labels moved."""

    features: Float32
    labels: Integers
    true: Integers


def blobs(seed: int, sizes: tuple[int, ...], flipped: float = 0.1, size: int = 12) -> Blobs:
    generator = np.random.default_rng(seed)
    true = np.repeat(np.arange(len(sizes)), sizes)
    centers = 2.5 * generator.normal(size=(len(sizes), size))
    features = centers[true] + generator.normal(size=(len(true), size))
    chosen = generator.choice(len(true), size=round(flipped * len(true)), replace=False)
    labels = true.copy()
    labels[chosen] = (true[chosen] + generator.integers(1, len(sizes), size=len(chosen))) % len(sizes)
    return Blobs(features.astype(np.float32), labels, true)


@pytest.mark.parametrize("sizes", [(150, 150), (100, 100, 100)])
@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_among_blobs_are_found(seed: int, sizes: tuple[int, ...]) -> None:
    features, labels, true = blobs(seed, sizes)
    found = suspects([features], labels, len(sizes))
    wrong = labels != true
    suspect = found.probability >= 0.5
    assert (suspect == wrong).mean() >= 0.97
    assert suspect[wrong].mean() >= 0.8
    assert wrong[suspect].all()
    assert found.evidence[wrong].max() < np.quantile(found.evidence[~wrong], 0.02)
    assert (found.suggested[wrong] == true[wrong]).all()
    assert found.share.estimate == pytest.approx(0.1, abs=0.03)
    assert found.accuracy == pytest.approx(0.9, abs=0.02)


def test_clean_labels_are_not_suspected() -> None:
    features, labels, _ = blobs(0, (100, 60, 30), flipped=0)
    found = suspects([features], labels, 3)
    assert found.probability.max() < 0.5
    assert found.accuracy > 0.97


def test_the_verdict_is_that_on_the_pool_of_all_predictions() -> None:
    features, labels, _ = blobs(1, (40, 40, 40))
    outside = np.random.default_rng(0).dirichlet(np.ones(3), size=120) + np.eye(3)[labels]
    outside /= 2
    found = suspect_labels([features, features[:, :4]], labels, np.eye(3)[labels], (), [outside])
    layers = [
        calibrated(leave_one_out(view, labels, 3).scores, labels) for view in (features, features[:, :4])
    ]
    pooled = pool_predictions([outside], [*layers, np.eye(3)[labels]], labels)
    expected = judge_labels(pooled.scores, labels)
    assert len(found.weights) == 4
    assert found.weights == pytest.approx(pooled.weights)
    assert found.probability == pytest.approx(expected.probability)
    assert found.determined == pytest.approx(expected.determined)
    for i, label in enumerate(labels):
        others = [found.expected[i, c] for c in range(3) if c != label]
        assert found.margin[i] == pytest.approx(found.expected[i, label] - max(others))


def test_equal_input_gives_equal_verdicts() -> None:
    given = blobs(3, (40, 40))
    first, second = (suspects([given.features], given.labels, 2) for _ in range(2))
    assert first.probability.tolist() == second.probability.tolist()
    assert first.share == second.share


def test_a_class_of_a_single_sample_gets_a_verdict() -> None:
    features, labels, _ = blobs(4, (60, 60, 1), flipped=0)
    found = suspects([features], labels, 3)
    assert np.isfinite(found.probability).all()
    assert found.margin[-1] < 0


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_uninformative_features_make_no_suspects(share: float) -> None:
    labels = (np.arange(200) < share * 200).astype(np.int64)
    found = suspects([np.full((200, 3), 0.3, np.float32)], labels, 2)
    assert found.probability.max() < 0.5
    assert found.accuracy == max(share, 1 - share)


def test_two_samples_of_two_classes_get_a_verdict() -> None:
    found = suspects([np.array([[0, 1], [1, 0]], np.float32)], np.array([0, 1]), 2)
    assert np.isfinite([*found.probability, *found.margin]).all()


def test_the_arguments_are_left_as_they_were() -> None:
    given = blobs(5, (20, 20))
    before = [array.copy() for array in given]
    suspects([given.features], given.labels, 2)
    assert all((a == b).all() for a, b in zip(before, given, strict=True))
    assert torch.is_grad_enabled()


def test_memorization_is_high_only_for_labels_that_the_others_would_not_give() -> None:
    generator = np.random.default_rng(4)
    true = generator.integers(3, size=300)
    view = (np.eye(3)[true] + 0.2 * generator.standard_normal((300, 3))).astype(np.float32)
    labels = true.copy()
    labels[:30] = (labels[:30] + 1) % 3
    answer = 0.98 * np.eye(3)[labels] + 0.02 / 3
    answer[28:30] = np.eye(3)[true[28:30]]  # the network gives their true label, not the wrong one
    found = suspect_labels([view], labels, answer)
    assert found.memorization[:28].min() > 0.8
    assert found.memorization[28:30].max() < 0.5
    assert np.median(found.memorization[30:]) < 0.1
    hard = answer.copy()
    hard[0] = 0.4 * np.eye(3)[labels[0]] + 0.2
    assert suspect_labels([view], labels, hard).memorization[0] < found.memorization[0] - 0.1
    assert found.expected.sum(1) == pytest.approx(1)


# What the network predicted earlier


def confident(classes: Integers, count: int, sure: float = 0.97) -> Float32:
    """Return the probabilities of a network that predicts some classes with a given confidence."""
    answer = np.full((len(classes), count), (1 - sure) / (count - 1))
    answer[np.arange(len(classes)), classes] = sure
    return answer.astype(np.float32)


def test_earlier_predictions_count_between_the_views_and_the_models_own() -> None:
    features, labels, true = blobs(0, (60, 60, 60), flipped=0.2)
    answer, early = confident(labels, 3), [confident(true, 3, sure) for sure in (0.6, 0.8)]
    found = suspect_labels([features], labels, answer, early)
    layers = [calibrated(leave_one_out(features, labels, 3).scores, labels), *early, answer]
    pooled = pool_predictions([], [layer.astype(np.float64) for layer in layers], labels)
    assert found.weights == pytest.approx(pooled.weights)
    assert len(found.weights) == 4
    backwards = suspect_labels([features], labels, answer, early[::-1])
    assert backwards.weights[1:3] == pytest.approx(found.weights[[2, 1]]), "here both give as much"


def test_an_earlier_checkpoint_that_had_not_memorized_yet_finds_what_the_layers_do_not() -> None:
    _, labels, true = blobs(1, (80, 80, 80), flipped=0.2)
    # a layer that hardly tells the classes apart
    generator = np.random.default_rng(0)
    poor = (0.7 * np.eye(3)[true] + generator.normal(size=(240, 3))).astype(np.float32)
    wrong = labels != true
    answer = confident(labels, 3, 0.999)
    alone = suspect_labels([poor], labels, answer)
    found = suspect_labels([poor], labels, answer, [confident(true, 3)])
    assert found.evidence[wrong].max() < found.evidence[~wrong].min()
    assert alone.evidence[wrong].max() > alone.evidence[~wrong].min()
    assert (found.suggested[wrong] == true[wrong]).all()


def test_an_earlier_checkpoint_that_has_memorized_counts_for_nothing() -> None:
    features, labels, _ = blobs(2, (80, 80, 80), flipped=0.2)
    memorized = confident(labels, 3)
    found = suspect_labels([features], labels, memorized, [memorized, memorized])
    assert found.weights[1:].max() < 0.01


@cache
def memorized_blobs(seed: int) -> tuple[Blobs, Float32, Suspicion]:
    """Return blobs, the probabilities of a network that memorized their labels, and the verdict on them."""
    given = blobs(seed, (60, 60, 60), flipped=0.2)
    own = confident(given.labels, 3, 0.999)
    return given, own, suspect_labels([given.features], given.labels, own)


@settings(max_examples=8, deadline=None)
@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 1.0, 30.0]))
def test_untrained_and_diverged_checkpoints_hardly_change_the_verdict(
    seed: int, count: int, scale: float
) -> None:
    """Scale 0 answers alike everywhere, 1 as fresh weights do, 30 is sure of anything."""
    (features, labels, true), own, alone = memorized_blobs(seed % 3)
    generator = np.random.default_rng(seed)
    wrong = labels != true
    logits = scale * generator.normal(size=(count, 180, 3))
    random = torch.from_numpy(logits).softmax(2).float().numpy()
    found = suspect_labels([features], labels, own, list(random))
    assert found.weights[1:-1].sum() < 0.02
    assert found.probability == pytest.approx(alone.probability, abs=0.1)
    before, after = (roc_auc_score(wrong, -one.evidence) for one in (alone, found))
    assert after == pytest.approx(before, abs=0.02)
