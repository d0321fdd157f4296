"""The predicted gap: it follows from the expected score, and is divided among the classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.analysis import generalization_gap as risk
from cohaudit.analysis.expected_score import ExpectedScore, around, measured_score
from cohaudit.analysis.generalization_gap import (
    class_agreement,
    class_gap,
    estimate_risk,
    gap_to,
    predict_gap,
    preprocessing_warning,
    with_holdout,
)
from cohaudit.results import LEVELS, Holdout, Skipped
from cohaudit.results.gap import risk_level

LEVEL_GAPS = (0.05, 0.1, 0.2)
NO_HOLDOUT = Skipped("holdout", "none was given")
shares = st.floats(0, 1)


def score_of(right: float, support: float = 0.8) -> ExpectedScore:
    """Return an expected score with an interval of 8 points to either side."""
    return ExpectedScore(support, around(right, 0.08), around(0.9 * right, 0.06), 0.08)


def drawn(seed: int, samples: int, classes: int) -> tuple[Any, ...]:
    """Return labels, predictions, and probabilities."""
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(classes, size=(2, samples))
    expected = rng.dirichlet(np.ones(classes), size=samples)
    return labels, np.where(rng.random(samples) < 0.7, labels, predicted), expected


@given(st.integers(0, 1000), st.integers(5, 60), st.integers(2, 6), shares)
def test_the_classes_share_the_gap_of_the_model(seed: int, samples: int, classes: int, right: float) -> None:
    labels, predicted, expected = drawn(seed, samples, classes)
    found = predict_gap(labels, predicted, score_of(right), expected)
    assert found.gap.value == pytest.approx(np.mean(labels == predicted) - right)
    sizes = np.bincount(labels, minlength=classes)
    assert np.isnan(found.classes[sizes == 0]).all()
    assert np.nansum(found.classes * sizes) / samples == pytest.approx(found.gap.value)


def test_the_agreement_of_a_class_is_the_mean_of_what_is_found_and_what_is_right() -> None:
    expected = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    predicted = np.array([0, 1, 1, 1])
    both = [(0.9 / 2.0 + 0.9) / 2, (1.9 / 2.0 + 1.9 / 3) / 2]
    assert class_agreement(predicted, expected) == pytest.approx(both)
    assert class_agreement(np.zeros(4, dtype=np.int64), expected)[1] == 0, "a class that is never answered"


def test_a_class_that_the_model_memorized_comes_first() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    expected = np.full((300, 3), 0.02)
    expected[np.arange(300), labels] = 0.96
    expected[labels == 2] = rng.dirichlet(np.ones(3), size=100)
    found = predict_gap(labels, labels, score_of(0.7), expected)
    assert found.classes.argmax() == 2
    assert found.classes[2] > found.gap.value > found.classes[0]


@given(st.floats(-1, 1), shares)
def test_the_interval_of_a_class_holds_its_gap_and_no_impossible_one(gap: float, accuracy: float) -> None:
    found = class_gap(gap, accuracy)
    assert found.low <= found.value == gap <= found.high
    if accuracy - 1 <= gap <= accuracy:
        assert accuracy - 1 <= found.low
        assert found.high <= accuracy


def holdout(accuracy: float, samples: int, right: float | None = None) -> Holdout:
    """Return a holdout of a network that fits all its labels; its own wrong labels are judged or not."""
    nothing = Skipped("accuracy on right labels of the holdout", "too few samples")
    measured = gap_to(1.0, measured_score(accuracy, samples))
    judged = nothing if right is None else around(right, 0.05)
    gap = nothing if right is None else gap_to(1.0, around(right, 0.05))
    return Holdout("test.npz", "", samples, 0, accuracy, measured, judged, gap, 0.5, 0.1, 0.1)


@given(shares, st.integers(1, 100_000), shares)
def test_a_holdout_counts_by_its_size(accuracy: float, samples: int, right: float) -> None:
    alone = score_of(right)
    both = with_holdout(alone, holdout(accuracy, samples))
    ends = sorted([right, accuracy])
    assert ends[0] - 1e-12 <= both.value <= ends[1] + 1e-12
    assert 0 <= both.low <= both.value <= both.high <= 1
    assert both.high - both.low <= 2 * alone.half_width + 1e-12, "two sources are no vaguer than one"
    many = with_holdout(alone, holdout(accuracy, 100 * samples))
    assert abs(many.value - accuracy) <= abs(both.value - accuracy) + 1e-12


def test_a_large_holdout_decides() -> None:
    both = with_holdout(score_of(0.7), holdout(0.95, 100_000))
    assert both.value == pytest.approx(0.95, abs=0.001)
    assert both.high - both.low < 0.01


def test_wrong_labels_of_the_holdout_do_not_count_against_right_labels() -> None:
    right = with_holdout(score_of(0.9), holdout(0.75, 20_000, right=0.93))
    assert 0.9 < right.value < 0.93, "the judged holdout counts as surely as its labels can be judged"


def estimated(gap: float, *, accuracy: float = 1.0, held_out: Any = NO_HOLDOUT) -> Any:
    found = risk.GapPrediction(accuracy, score_of(accuracy - gap, accuracy - gap - 0.02), np.zeros(2))
    return estimate_risk(found, "the input of layer fc1", held_out, LEVEL_GAPS)


@given(st.floats(0.0, 0.9))
def test_the_parts_add_up_to_the_gap_which_follows_from_the_score(gap: float) -> None:
    found = estimated(gap)
    assert math.fsum(term.adds for term in found.terms) == pytest.approx(found.predicted.value)
    assert found.gap == found.predicted
    assert (found.gap.value, found.gap.low) == (1 - found.expected.value, 1 - found.expected.high)
    assert found.gap.high == 1 - found.expected.low
    assert found.level == risk_level(found.gap.value, LEVEL_GAPS)


def test_every_part_is_reported_with_its_numbers() -> None:
    found = estimated(0.125, accuracy=0.96)
    first, second = found.terms
    assert (first.measured, first.adds) == pytest.approx((0.815, 0.145))
    assert (second.measured, second.adds) == pytest.approx((0.835, -0.02))
    for number in ("96.0%", "81.5%", "the input of layer fc1"):
        assert number in first.reason
    assert "did better on new data" in second.reason
    assert "83.5%" in second.reason


def test_the_level_is_that_of_prediction_and_holdout_together() -> None:
    found = estimated(0.3, held_out=holdout(0.97, 10_000))
    assert found.predicted.value == pytest.approx(0.3)
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
