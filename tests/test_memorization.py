"""Gradient neighbors, leave-one-out prediction and label noise: against plain oracles and simulations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit import memorization
from cohaudit import neighbors as neighboring
from cohaudit.memorization import (
    LEAF_COSINE,
    LabelNoise,
    fit_label_noise,
    leave_one_out_scores,
    neighborhood_support,
    sketched_cosine_error,
    suspect_labels,
    wrong_label_probability,
)
from cohaudit.neighbors import unit_rows

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Float32 = NDArray[np.float32]

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None)


def gradients(seed: int, samples: int, size: int = 6) -> Float32:
    """Return gradients in a few clusters, so that cosines of all signs and sizes occur."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(4, size))
    rows = centers[generator.integers(4, size=samples)] + 0.7 * generator.normal(size=(samples, size))
    return rows.astype(np.float32)


def cosines(sketches: Float32) -> Array:
    """Return all cosines, in float64; 0 on the diagonal and with a row of zeros."""
    rows = sketches.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    rows /= np.where(norms > 0, norms, 1)[:, None]
    found = rows @ rows.T
    np.fill_diagonal(found, 0)
    return found


# Neighborhood support


@quick
@given(seeds, st.integers(2, 30), st.integers(1, 40), st.integers(1, 9))
def test_support_is_the_mean_cosine_of_the_k_strongest_others(
    seed: int, samples: int, neighbors: int, rows_at_once: int
) -> None:
    sketches = gradients(seed, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighboring, "BLOCK", rows_at_once)
        patch.setattr(neighboring, "CHUNK", 2)
        found = neighborhood_support(sketches, neighbors, 0)
    k = min(neighbors, samples - 1)
    for i, row in enumerate(cosines(sketches)):
        others = sorted(np.delete(row, i), key=abs, reverse=True)
        if k == len(others) or abs(others[k - 1]) - abs(others[k]) > 1e-5:
            assert found.support[i] == pytest.approx(np.mean(others[:k]), abs=1e-6)
        if min(abs(cosine - LEAF_COSINE) for cosine in others) > 1e-5:
            assert found.count[i] == sum(cosine > LEAF_COSINE for cosine in others)


@quick
@given(seeds, st.integers(2, 25), st.sampled_from([1e-30, 1e-18, 1.0, 1e18]))
def test_support_knows_neither_a_samples_own_scale_nor_its_place(
    seed: int, samples: int, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    sketches = gradients(seed, samples)
    order = generator.permutation(samples)
    own_scale = (generator.uniform(0.5, 2, size=(samples, 1)) * scale).astype(np.float32)
    # all others vote: which one is k-th may hang on the last digit
    plain = neighborhood_support(sketches, samples, 0)
    changed = neighborhood_support((sketches * own_scale)[order], samples, 0)
    assert changed.support == pytest.approx(plain.support[order], abs=2e-6)


def test_support_is_one_among_equals_and_never_more() -> None:
    # some of these pairs round to a cosine of 1.0000001
    found = neighborhood_support(np.repeat(gradients(0, 64, 50), 2, axis=0), 1, 0)
    assert found.support == pytest.approx(np.ones(128))
    assert found.support.max() <= 1


def test_support_is_minus_one_between_two_opposites() -> None:
    row = gradients(0, 1, 50)
    assert neighborhood_support(np.concatenate([row, -row]), 5, 0).support == pytest.approx([-1, -1])


def test_a_sample_without_gradient_has_no_support_and_no_leaf() -> None:
    sketches = gradients(0, 10)
    sketches[3] = 0
    found = neighborhood_support(sketches, 4, 0)
    assert found.support[3] == 0
    assert found.count[3] == 0
    assert np.isfinite(found.support).all()


def test_a_wrong_label_is_fought_by_its_neighbors() -> None:
    # a sample that pulls against the nine others of its leaf, at a thousandth of their strength
    leaf = np.tile(gradients(0, 1), (10, 1)) + 0.01 * gradients(1, 10)
    leaf[4] *= -0.001
    support = neighborhood_support(leaf, 5, 0).support
    assert support[4] < -0.95
    assert np.delete(support, 4).min() > 0.5


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e30])
def test_rows_of_any_scale_become_unit_rows(scale: float) -> None:
    rows = unit_rows((np.array([[3.0, -4.0]]) * scale).astype(np.float32))
    assert rows.numpy() == pytest.approx(np.array([[0.6, -0.8]]), rel=0.1 if scale == 1e-44 else 1e-6)


# Supporters and opponents


@quick
@given(seeds, st.integers(2, 20), st.integers(0, 25), st.integers(1, 4))
def test_supporters_and_opponents_are_the_brute_force_ones(
    seed: int, samples: int, count: int, rows_at_once: int
) -> None:
    sketches = gradients(seed, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighboring, "BLOCK", rows_at_once)
        patch.setattr(neighboring, "CHUNK", 2)
        found = neighborhood_support(sketches, 3, count)
    for i, row in enumerate(cosines(sketches)):
        for side, sign in ((found.supporters, 1), (found.opponents, -1)):
            pairs = side.of(i, count)
            expected = sorted((sign * c for c in np.delete(row, i) if sign * c > 1e-6), reverse=True)[:count]
            assert [sign * c for _, c in pairs[: len(expected)]] == pytest.approx(expected, abs=1e-6)
            assert len(pairs) <= count
            assert side.of(i, 1) == pairs[:1]
            for j, cosine in pairs:
                assert j != i
                assert sign * cosine > 0
                assert row[j] == pytest.approx(cosine, abs=1e-6)


def test_the_cosine_of_a_duplicate_is_one_and_not_more() -> None:
    found = neighborhood_support(np.repeat(gradients(0, 64, 50), 2, axis=0), 1, 1).supporters
    assert found.indices[:, 0].tolist() == [i ^ 1 for i in range(128)]
    assert ((found.cosines > 1 - 1e-6) & (found.cosines <= 1)).all()


def test_equal_gradients_have_no_opponents() -> None:
    found = neighborhood_support(np.tile(gradients(5, 1), (3, 1)), 2, 5)
    assert sorted(j for j, _ in found.supporters.of(1, 5)) == [0, 2]
    assert found.opponents.of(1, 5) == []


# The error of sketched cosines


@pytest.mark.parametrize("kept", [64, 512])
def test_the_error_of_a_sketched_cosine_is_estimated_from_norms(kept: int) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 5000))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    signs = generator.choice([-1.0, 1.0], size=(5000, kept)) / np.sqrt(kept)
    sketches = (rows @ signs).astype(np.float32)
    errors = (cosines(sketches) - cosines(rows.astype(np.float32)))[np.triu_indices(300, 1)]
    estimated = sketched_cosine_error(3 * sketches, np.arange(300), np.full(300, 9.0))
    assert estimated == pytest.approx(np.sqrt(np.square(errors).mean()), rel=0.1)
    assert estimated == pytest.approx(1 / np.sqrt(kept), rel=0.1)


def test_sketches_that_keep_everything_have_no_error() -> None:
    rows = gradients(0, 20)
    assert sketched_cosine_error(rows, np.arange(20), np.square(rows.astype(np.float64)).sum(1)) < 1e-7
    assert sketched_cosine_error(rows, np.arange(0), np.zeros(0)) == 0


# Leave-one-out prediction


class Refit(NamedTuple):
    """The ridge regression without each sample, and how it would predict a target that is 1 everywhere."""

    scores: Array
    ones: Array


def refitted(features: Float32, labels: Integers, classes: int, ridge: float, votes: Array) -> Refit:
    """Solve the ridge regression once without each sample.

    Held fixed, as all samples make them: the center of the features, and the class shares.
    """
    x = features.astype(np.float64) - features.astype(np.float64).mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.eye(classes)[labels]
    share = votes @ y / max(votes.sum(), 1e-300)
    scores, ones = np.zeros((len(x), classes)), np.zeros(len(x))
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        weighted = x[rest].T * votes[rest]
        weights = np.linalg.solve(weighted @ x[rest] + ridge * np.eye(x.shape[1]), weighted)
        scores[i] = x[i] @ weights @ (y[rest] - share) + share
        ones[i] = (x[i] @ weights).sum()
    return Refit(scores, ones)


class Problem(NamedTuple):
    """Arguments of `leave_one_out_scores`."""

    features: Float32
    labels: Integers
    classes: int
    ridge: float
    votes: Array


def problem(seed: int, samples: int = 15, size: int = 4, classes: int = 3, ridge: float = 0.5) -> Problem:
    """Return a random problem in which some samples have no vote."""
    generator = np.random.default_rng(seed)
    votes = generator.uniform(size=samples) * (generator.random(samples) < 0.8)
    features = generator.normal(size=(samples, size)).astype(np.float32)
    return Problem(features, generator.integers(classes, size=samples), classes, ridge, votes)


@quick
@given(seeds, st.integers(3, 20), st.integers(1, 25), st.integers(2, 5), st.floats(0.01, 100))
def test_scores_are_those_of_a_refit_without_each_sample(
    seed: int, samples: int, size: int, classes: int, ridge: float
) -> None:
    given = problem(seed, samples, size, classes, ridge)
    assert leave_one_out_scores(*given) == pytest.approx(refitted(*given).scores, rel=1e-7, abs=1e-7)


def test_without_any_vote_no_class_scores() -> None:
    given = problem(0)._replace(votes=np.zeros(15))
    assert not leave_one_out_scores(*given).any()


@quick
@given(seeds, st.integers(0, 14))
def test_a_label_reaches_its_own_scores_through_the_class_shares_alone(seed: int, i: int) -> None:
    given = problem(seed)
    relabeled = given.labels.copy()
    relabeled[i] = (given.labels[i] + 1) % given.classes
    moved = leave_one_out_scores(*given._replace(labels=relabeled))[i] - leave_one_out_scores(*given)[i]
    share = given.votes[i] / max(given.votes.sum(), 1e-300)
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
    changed = Problem(features, given.labels[order], given.classes, given.ridge, given.votes[order])
    assert leave_one_out_scores(*changed) == pytest.approx(leave_one_out_scores(*given)[order], abs=1e-4)


def test_class_names_in_another_order_permute_the_scores() -> None:
    given = problem(1)
    renamed = leave_one_out_scores(*given._replace(labels=(given.labels + 1) % 3))
    assert renamed == pytest.approx(np.roll(leave_one_out_scores(*given), 1, axis=1))


def test_the_scores_of_a_sample_sum_to_one() -> None:
    assert leave_one_out_scores(*problem(2)).sum(1) == pytest.approx(np.ones(15))


def test_equal_features_score_as_the_class_shares() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = leave_one_out_scores(np.full((6, 3), 0.1, np.float32), labels, 3, 1.0, np.ones(6))
    assert scores == pytest.approx(np.tile([3 / 6, 2 / 6, 1 / 6], (6, 1)))


# Label noise


class Drawn(NamedTuple):
    """Labels drawn from the noise model itself."""

    scores: Array
    labels: Integers
    wrong: NDArray[np.bool_]


def drawn(seed: int, sharpness: float, share: float, classes: int = 4, samples: int = 4000) -> Drawn:
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(classes, 0.5), size=samples)
    chances = np.exp(sharpness * scores)
    chances /= chances.sum(1, keepdims=True)
    true = (generator.random((samples, 1)) > np.cumsum(chances, 1)).sum(1).clip(max=classes - 1)
    wrong = generator.random(samples) < share
    moved = (true + generator.integers(1, classes, size=samples)) % classes
    return Drawn(scores, np.where(wrong, moved, true), wrong)


def log_likelihood(scores: Array, labels: Integers, sharpness: float, share: float) -> float:
    """Return log p(labels) straight from the model's definition, summed over every possible true label."""
    total, classes = 0.0, scores.shape[1]
    for row, label in zip(scores, labels, strict=True):
        chances = np.exp(sharpness * row) / np.exp(sharpness * row).sum()
        given = [chances[t] * (1 - share if t == label else share / (classes - 1)) for t in range(classes)]
        total += np.log(sum(given))
    return total


@pytest.mark.parametrize(("sharpness", "share", "classes"), [(12, 0.1, 4), (12, 0.3, 4), (25, 0.05, 2)])
def test_the_fit_recovers_the_noise_that_the_labels_were_drawn_with(
    sharpness: float, share: float, classes: int
) -> None:
    fits = []
    for seed in range(6):
        sample = drawn(seed, sharpness, share, classes)
        fits.append(fit_label_noise(sample.scores, sample.labels))
    sharpnesses = np.array([fit.sharpness for fit in fits])
    shares = np.array([fit.share for fit in fits])
    assert np.abs(shares - share).max() < 0.025
    assert shares.mean() == pytest.approx(share, abs=0.008)
    assert np.abs(np.log(sharpnesses / sharpness)).max() < 0.4
    assert np.log(sharpnesses / sharpness).mean() == pytest.approx(0, abs=0.1)


def test_no_other_noise_is_likelier_than_the_fit() -> None:
    scores, labels, _ = drawn(3, 10, 0.2, samples=400)
    fit = fit_label_noise(scores, labels)
    assert fit.log_likelihood == pytest.approx(log_likelihood(scores, labels, fit.sharpness, fit.share))
    for sharpness in np.geomspace(1, 100, 15):
        for share in np.linspace(0.001, 0.75, 15):
            # the fit's own steps in β are 7 %: at most half a step off the top, which costs next to nothing
            assert log_likelihood(scores, labels, sharpness, share) < fit.log_likelihood + 0.2


def test_clean_labels_have_no_noise() -> None:
    shares = [fit_label_noise(*drawn(seed, 15, 0)[:2]).share for seed in range(5)]
    assert max(shares) < 0.01


def test_of_equally_likely_explanations_the_one_with_the_fewest_wrong_labels_is_taken() -> None:
    # scores that say nothing but the class shares: the rare class is a tenth of the labels, or all mistakes
    labels = np.repeat([0, 1], [900, 100])
    scores = np.tile([0.9, 0.1], (1000, 1))
    fit = fit_label_noise(scores, labels)
    assert wrong_label_probability(scores, labels, fit).max() < 0.2


@pytest.mark.parametrize("classes", [2, 5])
def test_labels_that_contradict_every_score_are_at_most_as_wrong_as_drawn_lots(classes: int) -> None:
    scores, labels = np.tile(np.eye(classes), (40, 1)), np.tile(np.roll(np.arange(classes), 1), 40)
    assert fit_label_noise(scores, labels).share == 1 - 1 / classes


def test_the_sharpness_has_a_largest_value() -> None:
    scores, labels = np.tile(np.eye(3) / 1000, (40, 1)), np.tile(np.arange(3), 40)
    assert fit_label_noise(scores, labels).sharpness == pytest.approx(memorization.LARGEST_SHARPNESS)


def bayes(scores: Array, label: int, noise: LabelNoise) -> float:
    """Return p(true label ≠ given | given), by listing every possible true label."""
    classes = len(scores)
    chances = np.exp(noise.sharpness * scores) / np.exp(noise.sharpness * scores).sum()
    given = [
        chances[t] * (1 - noise.share if t == label else noise.share / (classes - 1)) for t in range(classes)
    ]
    return float(1 - given[label] / sum(given))


@quick
@given(seeds, st.integers(2, 6), st.floats(0.5, 30), st.floats(0.01, 0.5))
def test_the_probability_of_a_wrong_label_is_bayes_rule(
    seed: int, classes: int, sharpness: float, share: float
) -> None:
    generator = np.random.default_rng(seed)
    scores, labels = generator.normal(size=(5, classes)) / 2, generator.integers(classes, size=5)
    noise = LabelNoise(sharpness, share, 0.0)
    expected = [bayes(row, label, noise) for row, label in zip(scores, labels, strict=True)]
    assert wrong_label_probability(scores, labels, noise) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("fitted", [False, True])
def test_the_probability_of_a_wrong_label_is_calibrated(fitted: bool) -> None:
    scores, labels, wrong = drawn(11, 12, 0.2, samples=20_000)
    noise = fit_label_noise(scores, labels) if fitted else LabelNoise(12, 0.2, 0.0)
    probability = wrong_label_probability(scores, labels, noise)
    bins = np.digitize(probability, [0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
    for b in np.unique(bins):
        members = bins == b
        assert members.sum() > 50
        expected = probability[members].mean()
        error = np.sqrt(np.mean(probability[members] * (1 - probability[members])) / members.sum())
        assert wrong[members].mean() == pytest.approx(expected, abs=4 * error + (0.02 if fitted else 0))


@pytest.mark.parametrize("scale", [1e3, 1e300])
def test_scores_of_any_size_give_probabilities(scale: float) -> None:
    scores, labels = np.array([[0, 1, -1], [1, 0, 0], [0.5, 0.5, 0]]) * scale, np.array([0, 0, 1])
    probability = wrong_label_probability(scores, labels, LabelNoise(300.0, 0.1, 0.0))
    # the third sample's two best labels tie: 1 to 1 before the noise, 0.05 to 0.9 with it
    assert probability == pytest.approx([1, 0, 0.05 / 0.95])
    fit = fit_label_noise(scores, labels)
    assert np.isfinite([fit.sharpness, fit.share, fit.log_likelihood]).all()
    assert fit.sharpness <= memorization.LARGEST_SHARPNESS


# Suspects


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
    found = suspect_labels(features, labels, len(sizes), 1.0, 3)
    wrong = labels != true
    assert ((found.probability >= 0.5) == wrong).mean() >= 0.99
    assert (found.probability[wrong] >= 0.5).mean() >= 0.95
    assert found.probability[wrong].min() > np.quantile(found.probability[~wrong], 0.98)
    assert (found.suggested[wrong] == true[wrong]).all()
    assert found.noise.share == pytest.approx(0.1, abs=0.02)
    assert found.accuracy == pytest.approx(0.9, abs=0.02)


def test_clean_labels_are_not_suspected() -> None:
    features, labels, _ = blobs(0, (100, 60, 30), flipped=0)
    found = suspect_labels(features, labels, 3, 1.0, 3)
    assert found.probability.max() < 0.5
    assert found.accuracy > 0.97


def test_margin_and_suggestion_are_those_of_the_scores() -> None:
    features, labels, _ = blobs(1, (20, 20, 20))
    found = suspect_labels(features, labels, 3, 1.0, 1)
    scores = leave_one_out_scores(features, labels, 3, 1.0, np.ones(60))
    for i, label in enumerate(labels):
        others = {c: scores[i, c] for c in range(3) if c != label}
        assert found.suggested[i] == scores[i].argmax()
        assert found.margin[i] == pytest.approx(scores[i, label] - max(others.values()))
    assert found.accuracy == pytest.approx((found.margin > 0).mean())


def test_in_later_rounds_a_likely_wrong_label_has_lost_its_vote_but_not_in_the_accuracy() -> None:
    features, labels, _ = blobs(5, (40, 40, 40), flipped=0.3, size=3)
    first, second = (suspect_labels(features, labels, 3, 1.0, rounds) for rounds in (1, 2))
    scores = leave_one_out_scores(features, labels, 3, 1.0, 1 - first.probability)
    rows = np.arange(120)
    assert (second.suggested == scores.argmax(1)).all()
    assert second.margin[second.margin < 0] == pytest.approx(
        (scores[rows, labels] - scores.max(1))[second.margin < 0]
    )
    assert second.accuracy == first.accuracy
    assert (second.margin > 0).mean() != first.accuracy


def test_equal_input_gives_equal_verdicts() -> None:
    given = blobs(3, (40, 40))
    first, second = (suspect_labels(given.features, given.labels, 2, 1.0, 3) for _ in range(2))
    assert first.probability.tolist() == second.probability.tolist()
    assert first.noise == second.noise


def test_a_class_of_a_single_sample_gets_a_verdict() -> None:
    features, labels, _ = blobs(4, (60, 60, 1), flipped=0)
    found = suspect_labels(features, labels, 3, 1.0, 3)
    assert np.isfinite(found.probability).all()
    assert found.margin[-1] < 0
    assert found.suggested[-1] in {0, 1}


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_features_that_say_nothing_accuse_nobody(share: float) -> None:
    labels = (np.arange(200) < share * 200).astype(np.int64)
    found = suspect_labels(np.full((200, 3), 0.3, np.float32), labels, 2, 1.0, 3)
    assert found.probability.max() < 0.5
    assert found.accuracy == max(share, 1 - share)


def test_two_samples_of_two_classes_get_a_verdict() -> None:
    found = suspect_labels(np.array([[0, 1], [1, 0]], np.float32), np.array([0, 1]), 2, 1.0, 3)
    assert np.isfinite([*found.probability, *found.margin]).all()


def test_the_arguments_are_left_as_they_were() -> None:
    given = blobs(5, (20, 20))
    before = [array.copy() for array in given]
    suspect_labels(given.features, given.labels, 2, 1.0, 2)
    neighborhood_support(given.features, 5, 3)
    assert all((a == b).all() for a, b in zip(before, given, strict=True))
    assert torch.is_grad_enabled()
