"""The expected score: it rises with support, is exact where all is known, and silent where little is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis import expected_score as score
from cohaudit.analysis.class_conditional_noise import ClassNoise, fit_class_noise
from cohaudit.analysis.expected_score import (
    COVERAGE,
    CrossfitAnswers,
    ExpectedScore,
    combine,
    crossfit_answers,
    expect_score,
    expected_accuracy,
    measured_score,
    review_shift,
    sampling_error,
)
from cohaudit.analysis.holdout_labels import MIN_JUDGED, accuracy_on_right_labels
from cohaudit.analysis.label_noise import expected_labels, fit_label_noise
from cohaudit.analysis.quantiles import Z_80
from cohaudit.results import Estimate, Flatness, Skipped

Array = NDArray[np.float64]
shares = st.floats(0, 1)


def noise_of(expected: Array, rate: float = 0.0) -> ClassNoise:
    """Return noise rates that are the same for all classes."""
    return ClassNoise(np.full(expected.shape[1], rate), expected, expected)


def expect(
    answers: NDArray[np.int64], noise: ClassNoise, crossfit: CrossfitAnswers | None = None
) -> ExpectedScore:
    found = expect_score(answers, noise, outside=True, crossfit=crossfit)
    assert isinstance(found, ExpectedScore)
    return found


@given(st.tuples(shares, shares), st.booleans())
def test_more_support_means_more_accuracy(ends: tuple[float, float], outside: bool) -> None:
    low, high = (expected_accuracy(x, outside=outside) for x in sorted(ends))
    assert 0 < low <= high < 1


def test_the_formula_is_the_documented_one() -> None:
    odds = score.INTERCEPT + score.SLOPE * math.log(0.8 / 0.2)
    assert expected_accuracy(0.8, outside=True) == pytest.approx(1 / (1 + math.exp(-odds)))


@given(st.integers(10, 499))
def test_few_samples_say_so_in_both_intervals(samples: int) -> None:
    def halves(count: int) -> tuple[float, float]:
        found = expect(np.zeros(count, dtype=np.int64), noise_of(np.full((count, 2), 0.5)))
        return found.half_width, (found.given.high - found.given.low) / 2

    for few, more in zip(halves(samples), halves(score.FEW_SAMPLES), strict=True):
        assert few > more >= score.HALF_WIDTH_FEW - 1e-9
    assert score.half_width_of_few(score.FEW_SAMPLES + 1) == 0
    # of 50 samples the answer may as well be the opposite
    assert halves(50)[0] > 0.4


def flat(share: float) -> Flatness:
    return Flatness(600, 4, (), Estimate(share, share, share), "")


@given(st.tuples(shares, shares), shares)
def test_a_network_whose_answers_stay_with_noise_is_expected_to_be_better(
    ends: tuple[float, float], support: float
) -> None:
    low, high = (expected_accuracy(support, outside=True, flatness=flat(x)) for x in sorted(ends))
    assert 0 < low <= high < 1


def test_the_flatness_counts_only_where_it_was_tested() -> None:
    noise = noise_of(np.full((600, 2), 0.5))
    answers = np.zeros(600, dtype=np.int64)

    def expected(outside: bool, copies: CrossfitAnswers | None, known: Flatness | None) -> float:
        found = expect_score(answers, noise, outside=outside, crossfit=copies, flatness=known)
        assert isinstance(found, ExpectedScore)
        assert found.flatness is (known if outside and copies is None else None)
        return found.right.value

    copies = CrossfitAnswers(0.5, 0.5)
    assert expected(True, None, flat(0.9)) > expected(True, None, flat(0.2)) + 0.05
    assert expected(True, copies, flat(0.9)) == expected(True, copies, None)
    assert expected(False, None, flat(0.9)) == expected(False, None, None)
    odds = score.INTERCEPT_FLAT + score.FLATNESS * score.stay_odds(0.9, 600)
    assert expected(True, None, flat(0.9)) == pytest.approx(1 / (1 + math.exp(-odds)))


@given(st.integers(0, 100), st.integers(20, 80), st.integers(2, 5), st.floats(0, 0.4))
def test_every_score_is_a_probability_inside_its_interval(
    seed: int, samples: int, classes: int, rate: float
) -> None:
    rng = np.random.default_rng(seed)
    noise = noise_of(rng.dirichlet(np.ones(classes), size=samples), rate)
    found = expect(rng.integers(classes, size=samples), noise)
    for one in (found.right, found.given):
        assert 0 <= one.low <= one.value <= one.high <= 1


@given(st.integers(0, 100), st.integers(2, 6), st.floats(0, 0.5))
def test_labels_given_anew_are_probabilities_and_as_wrong_as_the_rate_says(
    seed: int, classes: int, rate: float
) -> None:
    rng = np.random.default_rng(seed)
    expected = rng.dirichlet(np.ones(classes), size=50)
    noise = noise_of(expected, rate)
    given = [noise.given_at(np.full(50, c)) for c in range(classes)]
    np.testing.assert_allclose(np.sum(given, axis=0), 1)
    # a class that is certain is given with the probability that its label is right
    certain = noise_of(np.eye(classes), rate).given_at(np.arange(classes))
    np.testing.assert_allclose(certain, 1 - rate)


def test_wrong_labels_lower_the_score_as_given_and_not_the_one_against_right_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=4000)
    wrong = rng.random(4000) < 0.2
    labels = np.where(wrong, (truth + rng.integers(1, 4, size=4000)) % 4, truth)
    scores = 6.0 * np.eye(4)[truth]
    symmetric = fit_label_noise(scores, labels, 0.9)
    noise = fit_class_noise(expected_labels(scores, symmetric.sharpness), labels, symmetric)
    # a network that memorized nothing answers every true label
    found = expect(truth, noise)
    assert found.right.value > 0.97
    assert found.given.value == pytest.approx(0.8, abs=0.03)
    # what one that memorized its wrong labels answers there has no support
    memorized = expect(labels, noise)
    assert memorized.right.value == pytest.approx(0.8, abs=0.04)


def test_copies_that_never_saw_a_sample_count_beside_the_support() -> None:
    noise = noise_of(np.tile([0.8, 0.2], (500, 1)))
    answers = np.zeros(500, dtype=np.int64)
    alone = expect(answers, noise)
    better, worse = (expect(answers, noise, CrossfitAnswers(f, f)) for f in (0.95, 0.5))
    assert worse.right.value < alone.right.value < better.right.value
    assert (worse.given.value, better.given.value) == (0.5, 0.95)


def test_copies_are_as_right_as_their_answers_are_probable() -> None:
    true = np.array([[0.9, 0.1], [0.2, 0.8]])
    noise = ClassNoise(np.zeros(2), true, true)
    found = crossfit_answers(np.array([[0.6, 0.4], [0.7, 0.3]]), noise, np.array([0, 1]))
    assert found.right == pytest.approx((0.9 + 0.2) / 2)
    assert found.given == 0.5


def test_few_samples_widen_the_interval_and_too_few_give_none() -> None:
    expected = np.random.default_rng(0).dirichlet([1, 1], size=2000)
    sizes = (20, score.FEW_SAMPLES, score.FEW_SAMPLES + 1, 2000)
    widths = [expect(np.zeros(n, dtype=np.int64), noise_of(expected[:n])).half_width for n in sizes]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.1 * widths[1] > 1.1 * score.HALF_WIDTH_FEW
    assert widths[2] == pytest.approx(score.HALF_WIDTH, abs=0.01)
    found = expect_score(np.zeros(9, dtype=np.int64), noise_of(np.full((9, 5), 0.2)), outside=True)
    assert isinstance(found, Skipped)
    assert "9 samples of 5 classes are too few" in found.reason


def test_a_review_finds_wrong_labels_that_have_support() -> None:
    # by a rule: the pool is sure of every label, and half of them are wrong
    labels = np.arange(400) % 2
    noise = noise_of(np.where(np.eye(2)[labels] == 1, 0.9, 0.1))
    shift = review_shift(noise, labels, np.full(400, 0.5))
    alone = expect(labels, noise)
    reviewed = expect_score(labels, noise, outside=True, reviewed=shift)
    assert isinstance(reviewed, ExpectedScore)
    assert alone.right.value == pytest.approx(0.9, abs=0.03)
    assert reviewed.right.value == pytest.approx(0.5, abs=0.08)
    assert reviewed.given == alone.given, "labels as given are not what the review corrects"


def test_a_review_that_finds_what_the_pool_believes_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    noise = noise_of(np.where(np.eye(2)[labels] == 1, 0.9, 0.1))
    assert review_shift(noise, labels, np.full(400, 0.1)) == pytest.approx(0, abs=1e-9)
    assert review_shift(noise, labels, np.full(400, 0.02)) > 0


@given(shares, st.integers(1, 5000))
def test_a_measured_score_has_wilsons_interval(accuracy: float, samples: int) -> None:
    found = measured_score(accuracy, samples)
    assert -1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9


def test_wilsons_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [measured_score(accuracy, 200) for accuracy in rng.binomial(200, 0.83, size=4000) / 200]
    assert np.mean([one.low <= 0.83 <= one.high for one in found]) == pytest.approx(COVERAGE, abs=0.03)


def test_prediction_and_measurement_together_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.4, 0.8, size=3000)
    predicted = truth + rng.normal(0, 0.08 / Z_80, size=3000)
    measured = rng.binomial(300, truth) / 300
    held = []
    for a, b, t in zip(predicted.tolist(), measured.tolist(), truth.tolist(), strict=True):
        both = combine(Estimate(a, a, a), 0.08, b, sampling_error(b, 300))
        held.append(both.low <= t <= both.high)
    assert np.mean(held) == pytest.approx(COVERAGE, abs=0.03)


def test_the_wrong_labels_of_a_holdout_are_judged() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=900)
    view = (np.eye(3)[truth] + rng.normal(0, 0.25, size=(900, 3))).astype(np.float32)
    answers = np.where(rng.random(900) < 0.93, truth, rng.integers(3, size=900))
    probability = 0.9 * np.eye(3)[answers] + 0.1 / 3
    wrong = rng.random(900) < 0.25
    labels = np.where(wrong, (truth + rng.integers(1, 3, size=900)) % 3, truth)
    found = accuracy_on_right_labels(probability, [view], labels)
    assert isinstance(found, Estimate)
    true = float(np.mean(answers == truth))
    assert np.mean(answers == labels) < 0.75, "as given, it looks much worse"
    assert found.value == pytest.approx(true, abs=0.03)
    assert found.low <= true <= found.high


def test_the_labels_of_a_small_holdout_are_not_judged() -> None:
    few = MIN_JUDGED - 1
    views = [np.zeros((few, 3), np.float32)]
    found = accuracy_on_right_labels(np.full((few, 2), 0.5), views, np.zeros(few, np.int64))
    assert isinstance(found, Skipped)
    assert f"there are {few}" in found.reason
