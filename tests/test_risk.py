"""The risk figure: monotone in each reason, within its bounds, exact at its levels."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.results import LEVELS, Risk
from cohaudit.risk import estimate_risk, preprocessing_warning, risk_level

QUARTERS = (0.25, 0.5, 0.75)
shares = st.floats(0, 1)
reasons = st.fixed_dictionaries(
    {
        "mean_support": st.floats(-1, 1),
        "accuracy": shares,
        "leave_one_out_accuracy": shares,
        "representation": st.just("the input of layer fc1"),
        "memorized_share": shares,
        "classes": st.integers(2, 1000),
    }
)


def risk(**changes: Any) -> Risk:
    """Return the risk of a model without fault, but for `changes`."""
    harmless = {
        "mean_support": 1.0,
        "accuracy": 1.0,
        "leave_one_out_accuracy": 1.0,
        "representation": "the input of layer fc1",
        "memorized_share": 0.0,
        "classes": 10,
        "levels": QUARTERS,
    }
    return estimate_risk(**(harmless | changes))


@given(reasons)
def test_the_figure_is_the_weighted_mean_of_its_terms_largest_first(given: dict[str, Any]) -> None:
    found = risk(**given)
    contributions = [term.value * term.weight for term in found.terms]
    assert 0 <= found.value <= 1
    assert all(0 <= term.value <= 1 for term in found.terms)
    assert math.fsum(term.weight for term in found.terms) == 1
    assert found.value == pytest.approx(math.fsum(contributions))
    assert contributions == sorted(contributions, reverse=True)
    assert found.level == risk_level(found.value, QUARTERS)


@pytest.mark.parametrize(
    ("reason", "rising"),
    [
        ("mean_support", False),
        ("accuracy", True),
        ("leave_one_out_accuracy", False),
        ("memorized_share", True),
    ],
)
@given(given=reasons, ends=st.tuples(shares, shares))
def test_the_risk_is_monotone_in_each_reason(
    reason: str, rising: bool, given: dict[str, Any], ends: tuple[float, float]
) -> None:
    low, high = (risk(**given | {reason: end}).value for end in sorted(ends, reverse=not rising))
    assert low <= high + 1e-15


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.0),
        ({"mean_support": 0.0}, 0.5),
        ({"mean_support": -1.0}, 0.5),
        ({"mean_support": 0.6}, 0.2),
        ({"leave_one_out_accuracy": 0.1}, 0.3),
        ({"leave_one_out_accuracy": 0.55}, 0.15),
        ({"leave_one_out_accuracy": 0.5, "classes": 2}, 0.3),
        ({"accuracy": 0.6, "leave_one_out_accuracy": 0.9}, 0.0),
        ({"memorized_share": 0.25}, 0.1),
        ({"memorized_share": 0.9}, 0.2),
        ({"mean_support": 0.0, "leave_one_out_accuracy": 0.1, "memorized_share": 0.5}, 1.0),
    ],
)
def test_each_reason_adds_its_weight_at_its_worst(changes: dict[str, Any], expected: float) -> None:
    assert risk(**changes).value == pytest.approx(expected)


def test_a_model_that_fits_less_than_its_surroundings_predict_has_no_gap() -> None:
    found = risk(accuracy=0.6, leave_one_out_accuracy=0.9)
    assert {term.name: term.measured for term in found.terms}["leave-one-out gap"] == 0


def test_the_gap_is_put_into_words_as_it_is() -> None:
    def reason(**changes: Any) -> str:
        return {term.name: term.reason for term in risk(**changes).terms}["leave-one-out gap"]

    fitted = reason(accuracy=1.0, leave_one_out_accuracy=0.9)
    assert "from the input of layer fc1, the other samples alone predict 90.0%" in fitted
    assert fitted.endswith("The rest was fitted one by one.")
    little = reason(accuracy=0.88, leave_one_out_accuracy=0.92)
    assert "The rest was fitted" not in little
    assert "preprocessing" not in little
    less = reason(accuracy=0.67, leave_one_out_accuracy=0.92)
    assert "The rest was fitted" not in less
    assert less.endswith("the preprocessing or the transform differs from training.")


def test_a_model_far_below_what_its_neighbors_predict_is_warned_about() -> None:
    assert preprocessing_warning(0.95, 0.92) == preprocessing_warning(0.83, 0.92) == ""
    warning = preprocessing_warning(0.67, 0.92)
    assert "67% of its own training labels, less than its neighbors alone predict (92%)" in warning
    assert "preprocessing" in warning


def test_every_reason_is_told_with_its_number() -> None:
    found = risk(mean_support=0.25, accuracy=0.99, leave_one_out_accuracy=0.75, memorized_share=0.125)
    told = {term.name: (term.measured, term.reason) for term in found.terms}
    assert told["gradient support"][0] == 0.25
    assert "0.25" in told["gradient support"][1]
    assert told["leave-one-out gap"][0] == pytest.approx(0.24)
    assert "99.0%" in told["leave-one-out gap"][1]
    assert "75.0%" in told["leave-one-out gap"][1]
    assert told["memorized labels"][0] == 0.125
    assert "12.5%" in told["memorized labels"][1]


@pytest.mark.parametrize("begun", [1, 2, 3])
def test_a_level_begins_exactly_at_its_value(begun: int) -> None:
    bound = QUARTERS[begun - 1]
    assert risk_level(bound, QUARTERS) == LEVELS[begun]
    assert risk_level(math.nextafter(bound, 0), QUARTERS) == LEVELS[begun - 1]


def test_the_ends_of_the_scale_have_the_end_levels() -> None:
    assert risk_level(0.0, QUARTERS) == "low"
    assert risk_level(1.0, QUARTERS) == "severe"
    assert risk_level(1.0, (1.0, 1.0, 1.0)) == "severe"
