"""Calibration by reviewed labels: against an exact posterior, and in worlds where the scan is wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis import review_calibration
from cohaudit.analysis.review_calibration import CalibratedLabels, Reviews, calibrate_by_reviews
from cohaudit.analysis.review_design import design_review
from cohaudit.results.sample_table import order_by_suspicion

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


def world(
    share: float, separation: float, seed: int, count: int = 1500
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Return which labels are wrong, the evidence, and the true posterior odds of a wrong label."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(count) < share
    doubt = generator.normal(size=count) + separation * wrong
    return wrong, -doubt, share / (1 - share) * np.exp(separation * doubt - separation**2 / 2)


def reviewed(
    probability: Array, evidence: Array, wrong: NDArray[np.bool_], seed: int, count: int = 50
) -> tuple[CalibratedLabels, NDArray[np.int64]]:
    """Return what a truthful review leads to, and the samples asked about."""
    asked = design_review(probability, evidence, count, seed).samples
    return calibrate_by_reviews(probability, evidence, Reviews(asked, wrong[asked]), 0.5, seed), asked


def calibration_error(probability: Array, wrong: NDArray[np.bool_]) -> float:
    parts = np.array_split(np.argsort(probability, kind="stable"), 10)
    return sum(abs(probability[b].mean() - wrong[b].mean()) * len(b) for b in parts) / len(wrong)


@few
@given(st.integers(1, 300), st.integers(1, 60), SEEDS, st.booleans())
def test_reviewed_labels_are_certain_and_the_others_keep_their_order(
    count: int, size: int, seed: int, ties: bool
) -> None:
    generator = np.random.default_rng(seed)
    probability = generator.beta(0.3, 3, count)
    if ties:
        probability = np.round(probability, 1)
    evidence = generator.normal(size=count)
    wrong = generator.random(count) < 0.3
    found, asked = reviewed(probability, evidence, wrong, seed, size)
    assert (found.probability[asked] == wrong[asked]).all()
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    order = order_by_suspicion(probability, evidence)
    left = order[~np.isin(order, asked)]
    assert (np.diff(found.probability[left]) <= 1e-12).all()
    assert 0 <= found.share.low <= found.share.value <= found.share.high <= 1
    assert found.share.value == pytest.approx(found.probability.mean(), abs=0.01)
    assert (found.precision is None) == (not (found.probability >= 0.5).any())
    if found.precision is not None:
        listed = found.probability[found.probability >= 0.5]
        assert found.precision.value == pytest.approx(listed.mean(), abs=0.02)


@few
@given(SEEDS)
def test_the_order_of_the_samples_in_the_data_does_not_matter(seed: int) -> None:
    wrong, evidence, odds = world(0.2, 2.0, seed, count=200)
    probability = odds / (1 + odds)
    moved = np.random.default_rng(seed).permutation(200)
    first, asked = reviewed(probability, evidence, wrong, seed)
    second, again = reviewed(probability[moved], evidence[moved], wrong[moved], seed)
    assert moved[again].tolist() == asked.tolist()
    np.testing.assert_array_equal(second.probability, first.probability[moved])
    assert second.share == first.share


def test_the_sampler_finds_the_exact_posterior() -> None:
    """Draws of the prior, each weighted by its likelihood, give the posterior without any sampler."""
    wrong, evidence, odds = world(0.3, 2.0, 5, count=100)
    probability = odds / (1 + odds) / 4
    asked = design_review(probability, evidence, 12, 0).samples
    order = order_by_suspicion(probability, evidence)
    curves = review_calibration._Curves(probability[order], np.arange(100))
    drawn = curves(np.random.default_rng(1).standard_normal((200_000, curves.size)))
    at = np.flatnonzero(np.isin(order, asked))
    likelihood = np.where(wrong[order][at], drawn[:, at], 1 - drawn[:, at]).prod(1)
    exact = np.empty(100)
    exact[order] = likelihood @ drawn / likelihood.sum()
    exact[asked] = wrong[asked]
    found = [
        calibrate_by_reviews(probability, evidence, Reviews(asked, wrong[asked]), 0.5, seed).probability
        for seed in range(8)
    ]
    assert np.abs(np.mean(found, 0) - exact).max() < 0.02
    assert np.abs(np.array(found) - exact).max() < 0.08


@pytest.fixture(scope="module")
def corrected() -> dict[tuple[float, float, float], tuple[float, float]]:
    """Return mean calibration error and coverage of reviews of scans that are off by a factor."""
    found = {}
    for share, separation, factor in itertools.product((0.02, 0.1, 0.3), (4.0, 0.0), (10.0, 0.1)):
        errors, held = [], []
        for seed in range(8):
            wrong, evidence, odds = world(share, separation, seed)
            calibrated, _ = reviewed(factor * odds / (1 + factor * odds), evidence, wrong, seed)
            errors.append(calibration_error(calibrated.probability, wrong))
            held.append(calibrated.share.low <= wrong.mean() <= calibrated.share.high)
        found[share, separation, factor] = float(np.mean(errors)), float(np.mean(held))
    return found


def test_a_scan_that_is_off_by_a_factor_of_ten_is_corrected(
    corrected: dict[tuple[float, float, float], tuple[float, float]],
) -> None:
    for (share, separation, _), (error, _) in corrected.items():
        # 50 answers tell a share of 30 % to 5 points on average, if there is no order to help them
        assert error <= (0.05 if separation or share < 0.3 else 0.09)


def test_the_interval_of_the_share_holds(
    corrected: dict[tuple[float, float, float], tuple[float, float]],
) -> None:
    assert np.mean([held for _, held in corrected.values()]) >= 0.85


def test_an_order_without_probabilities_becomes_a_list() -> None:
    wrong, evidence, _ = world(0.1, 5.0, 0)
    found, _ = reviewed(np.zeros(len(wrong)), evidence, wrong, 0)
    suspects = found.probability >= 0.5
    assert wrong[suspects].mean() > 0.9
    assert suspects[wrong].mean() > 0.7


@few
@given(st.integers(40, 600), st.floats(0.6, 0.99), SEEDS)
def test_a_list_in_which_nothing_is_wrong_is_emptied(listed: int, claimed: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probability = np.where(np.arange(1500) < listed, claimed, 0.02 * generator.random(1500))
    found, _ = reviewed(probability, generator.normal(size=1500), np.zeros(1500, dtype=bool), seed)
    assert not (found.probability >= 0.5).any()
    assert found.share.low == 0
    assert found.share.high < 0.1


@pytest.mark.parametrize("answers", [200, 1500])
def test_many_answers_tell_the_share_exactly(answers: int) -> None:
    wrong, evidence, odds = world(0.3, 1.0, 1)
    found, _ = reviewed(odds / (1 + odds) / 5, evidence, wrong, 1, answers)
    half = 0.08 if answers < 1500 else 1e-9
    assert found.share.high - found.share.low <= 2 * half
    assert abs(found.share.value - wrong.mean()) <= half
