"""The share of wrong labels, and which they are: against the model's definition and simulations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis import label_noise
from cohaudit.analysis.label_noise import (
    NoiseShare,
    fit_label_noise,
    label_evidence,
    wrong_probability,
    wrong_share,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Float32 = NDArray[np.float32]

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)


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


def suspicion(scores: Array, labels: Integers) -> Array:
    sharpness = fit_label_noise(scores, labels).sharpness
    return wrong_probability(scores, labels, sharpness, wrong_share(scores, labels))


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


def test_of_equally_likely_fits_the_one_with_the_fewest_wrong_labels_is_chosen() -> None:
    # scores that say nothing but the class shares: the rare class is a tenth of the labels, or all mistakes
    labels = np.repeat([0, 1], [900, 100])
    scores = np.tile([0.9, 0.1], (1000, 1))
    assert wrong_share(scores, labels) == NoiseShare(0, 0, 0)
    assert suspicion(scores, labels).max() == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_labels_that_contradict_every_score_are_at_most_as_wrong_as_drawn_lots(classes: int) -> None:
    scores, labels = np.tile(np.eye(classes), (40, 1)), np.tile(np.roll(np.arange(classes), 1), 40)
    assert fit_label_noise(scores, labels).share == 1 - 1 / classes


def test_the_sharpness_has_a_largest_value() -> None:
    scores, labels = np.tile(np.eye(3) / 1000, (40, 1)), np.tile(np.arange(3), 40)
    assert fit_label_noise(scores, labels).sharpness == pytest.approx(label_noise.MAX_SHARPNESS)


# Which labels are wrong


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_the_share_of_wrong_labels_is_found(share: float) -> None:
    for seed in range(4):
        scores, labels, wrong = drawn(seed, 40, share, samples=3000)
        found = wrong_share(scores, labels)
        assert found.estimate == pytest.approx(wrong.mean(), abs=0.02 + 0.2 * share)
        assert found.lower == fit_label_noise(scores, labels).share
        assert found.estimate**2 == pytest.approx(found.lower * found.upper)


def test_the_probability_of_a_wrong_label_is_calibrated() -> None:
    scores, labels, wrong = drawn(11, 40, 0.2, samples=20_000)
    probability = suspicion(scores, labels)
    bins = np.digitize(probability, [0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
    assert len(np.unique(bins)) > 3
    for b in np.unique(bins):
        members = bins == b
        expected = probability[members].mean()
        error = np.sqrt(np.mean(probability[members] * (1 - probability[members])) / members.sum())
        assert wrong[members].mean() == pytest.approx(expected, abs=4 * error + 0.08)


def test_the_evidence_is_the_log_odds_of_the_given_label() -> None:
    scores, labels, _ = drawn(0, 12, 0.1, samples=300)
    chances = np.exp(7 * scores) / np.exp(7 * scores).sum(1, keepdims=True)
    given = chances[np.arange(300), labels]
    assert label_evidence(scores, labels, 7) == pytest.approx(np.log(given / (1 - given)), rel=1e-9, abs=1e-9)


@quick
@given(seeds, st.floats(1, 60))
def test_less_evidence_is_never_less_suspect(seed: int, sharpness: float) -> None:
    scores, labels, _ = drawn(seed, 20, 0.2, samples=200)
    found = wrong_probability(scores, labels, sharpness, NoiseShare(0.1, 0.2, 0.4))
    assert (np.diff(found[np.argsort(label_evidence(scores, labels, sharpness))]) <= 0).all()
    assert ((found >= 0) & (found < 1)).all()


def test_clean_labels_are_not_suspected() -> None:
    for seed in range(3):
        scores, labels, _ = drawn(seed, 40, 0)
        assert (suspicion(scores, labels) >= 0.5).mean() < 0.01


def test_scores_unrelated_to_the_labels_make_no_suspects() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.dirichlet(np.ones(4), size=500), generator.integers(4, size=500)
    assert not suspicion(scores, labels).any()


@pytest.mark.parametrize("leak", [0.1, 0.3])
def test_scores_that_overfit_the_labels_suspect_as_many_as_those_that_did_not(leak: float) -> None:
    scores, labels, wrong = drawn(5, 40, 0.2)
    share = wrong_share(scores, labels)
    leaking = scores + leak * np.eye(4)[labels]
    sharpness = fit_label_noise(scores, labels).sharpness
    straight = wrong_probability(scores, labels, sharpness, share)
    found = wrong_probability(leaking, labels, sharpness, share)
    assert wrong_share(leaking, labels).upper < 0.9 * share.upper
    assert found.mean() == pytest.approx(straight.mean(), abs=0.02)
    assert (found >= 0.5)[wrong].mean() > (straight >= 0.5)[wrong].mean() - 0.1


@pytest.mark.parametrize("scale", [1e3, 1e300])
def test_scores_of_any_size_give_probabilities(scale: float) -> None:
    scores, labels = np.array([[0, 1, -1], [1, 0, 0], [0.5, 0.5, 0]]) * scale, np.array([0, 0, 1])
    fit = fit_label_noise(scores, labels)
    assert np.isfinite([fit.sharpness, fit.share, fit.log_likelihood]).all()
    assert fit.sharpness <= label_noise.MAX_SHARPNESS
    assert not np.isnan(label_evidence(scores, labels, 300)).any()
    found = wrong_probability(scores, labels, 300, NoiseShare(0.1, 0.1, 0.1))
    assert ((found >= 0) & (found < 1)).all()
