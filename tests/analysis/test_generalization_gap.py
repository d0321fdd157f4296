"""The predicted gap: bounded, monotone, summing to its parts, and as good as the benchmark says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.analysis import generalization_gap as risk
from cohaudit.analysis.generalization_gap import (
    COVERAGE,
    HALF_WIDTH,
    MAX_ZOO_SAMPLES,
    MIN_ZOO_SAMPLES,
    class_agreement,
    estimate_risk,
    expected_accuracy,
    interval,
    measured_gap,
    predict_gap,
    preprocessing_warning,
    with_holdout,
)
from cohaudit.report.html.view._gap import TRACK_RECORD
from cohaudit.results import LEVELS, Holdout, Skipped
from cohaudit.results.gap import risk_level

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
LEVEL_GAPS = (0.05, 0.1, 0.2)
NO_HOLDOUT = Skipped("holdout", "none was given")
shares = st.floats(0, 1)
losses = st.floats(0, 20)
counts = st.integers(1, 10**7)


@given(shares, losses, counts, st.integers(2, 1000))
def test_an_expected_accuracy_is_a_probability(x: float, loss: float, samples: int, classes: int) -> None:
    assert 0 < expected_accuracy(x, loss, samples, classes) < 1


@given(st.tuples(shares, shares), losses, counts)
def test_more_agreement_means_more_accuracy(ends: tuple[float, float], loss: float, samples: int) -> None:
    low, high = (expected_accuracy(x, loss, samples, 10) for x in sorted(ends))
    assert low <= high


@given(shares, st.tuples(losses, losses), counts)
def test_a_smaller_loss_means_more_accuracy(x: float, ends: tuple[float, float], samples: int) -> None:
    low, high = (expected_accuracy(x, loss, samples, 10) for loss in sorted(ends, reverse=True))
    assert low <= high


def test_the_formula_is_the_documented_one() -> None:
    odds = -0.499 + 0.872 * math.log(0.8 / 0.2) - 0.233 * 0.5 + 0.278 * 3
    assert expected_accuracy(0.8, 0.5, 1000, 10) == pytest.approx(1 / (1 + math.exp(-odds)))


def test_beyond_the_zoo_its_ends_count() -> None:
    assert expected_accuracy(0.9, 0.1, 10 * MAX_ZOO_SAMPLES, 10) == expected_accuracy(
        0.9, 0.1, MAX_ZOO_SAMPLES, 10
    )
    assert expected_accuracy(0.9, 0.1, MIN_ZOO_SAMPLES // 10, 10) == expected_accuracy(
        0.9, 0.1, MIN_ZOO_SAMPLES, 10
    )
    assert expected_accuracy(0.9, 50, 1000, 10) == expected_accuracy(0.9, math.log(10), 1000, 10)
    assert expected_accuracy(1, 0, 1000, 10) == expected_accuracy(0.99, 0, 1000, 10)


def drawn(seed: int, samples: int, classes: int) -> tuple[Any, ...]:
    """Return labels, predictions, and two sets of probabilities."""
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(classes, size=(2, samples))
    low_overfit, expected = rng.dirichlet(np.ones(classes), size=(2, samples))
    return labels, np.where(rng.random(samples) < 0.7, labels, predicted), low_overfit, expected


@given(st.integers(0, 1000), st.integers(5, 60), st.integers(2, 6))
def test_the_classes_share_the_gap_of_the_model(seed: int, samples: int, classes: int) -> None:
    labels, predicted, low_overfit, expected = drawn(seed, samples, classes)
    found = predict_gap(labels, predicted, low_overfit, expected, mean_loss=0.5, samples=samples)
    assert found.gap == pytest.approx(np.mean(labels == predicted) - found.accuracy)
    sizes = np.bincount(labels, minlength=classes)
    assert np.isnan(found.classes[sizes == 0]).all()
    assert np.nansum(found.classes * sizes) / samples == pytest.approx(found.gap)


def test_agreement_is_the_probability_of_the_models_own_answers() -> None:
    expected = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    labels, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    found = predict_gap(labels, predicted, expected, expected, mean_loss=0.1, samples=3)
    assert found.agreement == pytest.approx((0.9 + 0.7 + 0.4) / 3)


def test_the_agreement_of_a_class_is_the_mean_of_what_is_found_and_what_is_right() -> None:
    expected = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    predicted = np.array([0, 1, 1, 1])
    assert class_agreement(predicted, expected, 0) == pytest.approx((0.9 / 2.0 + 0.9) / 2)
    assert class_agreement(predicted, expected, 1) == pytest.approx((1.9 / 2.0 + 1.9 / 3) / 2)
    assert class_agreement(np.zeros(4, dtype=np.int64), expected, 1) == 0, "a class that is never answered"


def test_a_class_that_the_model_memorized_comes_first() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    expected = np.full((300, 3), 0.02)
    expected[np.arange(300), labels] = 0.96
    expected[labels == 2] = rng.dirichlet(np.ones(3), size=100)
    found = predict_gap(labels, labels, expected, expected, mean_loss=0.001, samples=300)
    assert found.classes.argmax() == 2
    assert found.classes[2] > found.gap > found.classes[0]


@given(st.floats(-1, 1), shares)
def test_an_interval_holds_its_gap_and_no_impossible_one(gap: float, accuracy: float) -> None:
    found = interval(gap, accuracy)
    assert found.low <= found.value == gap <= found.high
    if accuracy - 1 <= gap <= accuracy:
        assert accuracy - 1 <= found.low
        assert found.high <= accuracy


def holdout(accuracy: float, samples: int, training: float = 1.0) -> Holdout:
    gap = measured_gap(training, accuracy, samples)
    return Holdout("test.npz", "", samples, 0, accuracy, gap, 0.5, 0.1, 0.1)


@given(shares, st.integers(1, 100_000), st.floats(-0.5, 1))
def test_a_holdout_counts_by_its_size(accuracy: float, samples: int, predicted: float) -> None:
    alone = interval(predicted, 1.0)
    both = with_holdout(alone, holdout(accuracy, samples))
    ends = sorted([predicted, 1 - accuracy])
    assert ends[0] - 1e-12 <= both.value <= ends[1] + 1e-12
    assert both.high - both.low <= 2 * HALF_WIDTH + 1e-12, "two sources are no vaguer than one"
    many = with_holdout(alone, holdout(accuracy, 100 * samples))
    assert abs(many.value - (1 - accuracy)) <= abs(both.value - (1 - accuracy)) + 1e-12


@given(st.floats(0, 1), st.integers(2, 500), st.floats(0, 1), st.floats(0, 1))
def test_with_a_holdout_no_accuracy_is_impossible_either(
    accuracy: float, samples: int, training: float, expected: float
) -> None:
    found = with_holdout(interval(training - expected, training), holdout(accuracy, samples, training))
    assert training - 1 - 1e-9 <= found.low <= found.value <= found.high <= training + 1e-9


def test_a_large_holdout_decides() -> None:
    both = with_holdout(interval(0.3, 1.0), holdout(0.95, 100_000))
    assert both.value == pytest.approx(0.05, abs=0.001)
    assert both.high - both.low < 0.01


@given(shares, st.integers(1, 5000))
def test_a_measured_gap_has_wilsons_interval(accuracy: float, samples: int) -> None:
    found = measured_gap(1.0, accuracy, samples)
    assert -1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9


def test_wilsons_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    accuracies = rng.binomial(200, 0.83, size=4000) / 200
    inside = [measured_gap(1.0, accuracy, 200) for accuracy in accuracies]
    assert np.mean([found.low <= 0.17 <= found.high for found in inside]) == pytest.approx(COVERAGE, abs=0.03)


def estimated(gap: float, *, accuracy: float = 1.0, held_out: Any = NO_HOLDOUT) -> Any:
    found = risk.GapPrediction(accuracy - gap - 0.02, accuracy - gap, gap, np.zeros(2))
    return estimate_risk(found, accuracy, "the input of layer fc1", held_out, LEVEL_GAPS)


@given(st.floats(-0.3, 0.9))
def test_the_parts_add_up_to_the_gap(gap: float) -> None:
    found = estimated(gap)
    assert math.fsum(term.adds for term in found.terms) == pytest.approx(found.predicted.value)
    assert found.gap == found.predicted
    assert found.level == risk_level(gap, LEVEL_GAPS)


def test_every_part_is_reported_with_its_numbers() -> None:
    found = estimated(0.125, accuracy=0.96)
    first, second = found.terms
    assert (first.measured, first.adds) == pytest.approx((0.815, 0.145))
    assert (second.measured, second.adds) == pytest.approx((0.835, -0.02))
    for number in ("96.0%", "81.5%", "the input of layer fc1"):
        assert number in first.reason
    assert "2.0 points better" in second.reason
    assert "83.5%" in second.reason


def test_the_level_is_that_of_prediction_and_holdout_together() -> None:
    found = estimated(0.3, held_out=holdout(0.97, 10_000))
    assert found.predicted.value == 0.3
    assert found.level == "low"


@pytest.mark.parametrize("begun", [1, 2, 3])
def test_a_level_begins_exactly_at_its_gap(begun: int) -> None:
    bound = LEVEL_GAPS[begun - 1]
    assert risk_level(bound, LEVEL_GAPS) == LEVELS[begun]
    assert risk_level(math.nextafter(bound, -1), LEVEL_GAPS) == LEVELS[begun - 1]


def test_the_ends_have_the_end_levels() -> None:
    assert risk_level(-1.0, LEVEL_GAPS) == "low"
    assert risk_level(1.0, LEVEL_GAPS) == "severe"


def test_a_model_far_below_what_its_neighbors_predict_is_warned_about() -> None:
    assert preprocessing_warning(0.95, 0.92) == preprocessing_warning(0.83, 0.92) == ""
    warning = preprocessing_warning(0.67, 0.92)
    for told in ("67%", "92%", "preprocessing"):
        assert told in warning


# what the benchmark measured


@pytest.fixture(scope="module")
def zoo() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((RESULTS / "risk.json").read_text())
    return rows


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "risk_scores.json").read_text())
    return found


def test_the_constants_are_those_that_were_fitted(scores: dict[str, Any]) -> None:
    names = ("INTERCEPT", "AGREEMENT", "LOSS", "DECADES", "HALF_WIDTH")
    for name in (*names, "CLASS_ACCURACY", "CLASS_AGREEMENT", "CLASS_HALF_WIDTH"):
        assert getattr(risk, name) == pytest.approx(scores["fitted"][name], abs=5.1e-4), name


def test_the_figures_in_words_are_those_that_were_measured(
    zoo: list[dict[str, Any]], scores: dict[str, Any]
) -> None:
    audited = [one for one in zoo if one["auditable"]]
    unseen = [one for one in audited if one["half"] == "unseen"]
    assert len(zoo) >= 300
    error = np.mean([abs(one["predicted gap"] - one["gap"]) for one in unseen])
    held = np.mean([one["low"] <= one["gap"] <= one["high"] for one in unseen])
    tau = next(one["tau"] for one in scores["measures"] if one["measure"] == "predicted gap")
    bias = np.mean([one["predicted gap"] - one["gap"] for one in unseen])
    record = TRACK_RECORD
    assert record.networks == len(audited)
    assert record.rank_correlation == round(tau, 2)
    assert (record.mean_error, record.bias) == (round(float(error), 3), round(float(bias), 3))
    assert record.covered == round(float(held), 2)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    fitted = [one for one in unseen if one["train_accuracy"] >= 0.99]
    held_fitted = np.mean([one["low"] <= one["gap"] <= one["high"] for one in fitted])
    assert f"On {len(unseen)} small networks from families that were not used for fitting" in readme
    assert f"was {tau:.2f}, and the mean absolute error was {100 * error:.1f} points" in readme
    assert f"predictions were {100 * bias:.1f} points too high on average" in readme
    assert f"contained {100 * held:.0f}% of the gaps, and {100 * held_fitted:.0f}% for networks" in readme
    others = [one["tau"] for one in scores["measures"] if one["measure"] != "predicted gap"]
    assert tau > max(others)
    assert len(others) >= 40


def test_the_rows_hold_what_the_current_formula_predicts(zoo: list[dict[str, Any]]) -> None:
    for one in zoo[::10]:
        expected = expected_accuracy(one["agreement"], one["train_loss"], one["count"], one["classes"])
        assert one["predicted gap"] == pytest.approx(one["train_accuracy"] - expected, abs=2e-3)


def test_no_family_is_in_both_halves(zoo: list[dict[str, Any]]) -> None:
    halves = {half: {one["family"] for one in zoo if one["half"] == half} for half in ("fit", "unseen")}
    assert not halves["fit"] & halves["unseen"]
