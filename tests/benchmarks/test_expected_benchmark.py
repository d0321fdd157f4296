"""The benchmark of the expected score: its left-out choice, its rows, and what is said of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.pages import ROOT

from benchmarks.generalization import expected, expected_few, expected_flatness, fit
from benchmarks.generalization.expected_tables import quality, resampled, strata, table_of_rows
from benchmarks.generalization.left_out import Known, half_width, log_odds, predict
from benchmarks.shared.results import read_json, read_rows
from cohaudit.analysis import expected_score, generalization_gap
from cohaudit.report.html.view._gap import TRACK_RECORD


def known(seed: int, *, shifted: str = "", families: int = 8) -> Known:
    """Return checkpoints whose accuracy follows from one input, with noise; one family may be shifted."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"family {k}" for k in range(families)], 20)
    inputs = rng.normal(0.5, 1, size=(len(names), 1))
    accuracy = predict(inputs, np.array([0.2, 0.9])) + rng.normal(0, 0.03, size=len(names))
    accuracy = np.where(names == shifted, accuracy - 0.3, accuracy)
    return Known(inputs, accuracy, names, names, np.zeros(len(names)))


@pytest.mark.parametrize("seed", range(4))
def test_constants_are_found_and_hardly_moved_by_a_family_that_no_input_explains(seed: int) -> None:
    np.testing.assert_allclose(known(seed).constants(), [0.2, 0.9], atol=0.1)
    np.testing.assert_allclose(known(seed, shifted="family 3").constants(), [0.2, 0.9], atol=0.2)


def test_a_family_has_no_part_in_its_own_constants_or_width() -> None:
    plain = known(0).left_out()
    moved = known(0, shifted="family 3").left_out()
    own = 3 * 20
    np.testing.assert_array_equal(plain[own].constants, moved[own].constants)
    assert plain[own].half_width == moved[own].half_width
    assert plain[0].half_width != moved[0].half_width


def test_the_interval_holds_in_families_that_are_left_out() -> None:
    held = []
    for seed in range(12):
        one = known(seed)
        for k, estimator in enumerate(one.left_out()):
            error = abs(float(estimator.estimate(one.inputs[k : k + 1])[0]) - one.accuracy[k])
            held.append(error <= estimator.half_width)
    # the correction by (K + 1) / K makes 80% at least 80%
    assert 0.8 <= np.mean(held) < 0.95


def test_every_group_counts_the_same_for_the_width() -> None:
    errors = np.array([0.1] * 100 + [0.2, 0.3, 0.4, 0.5])
    groups = np.array(["large"] * 100 + ["a", "b", "c", "d"])
    assert half_width(errors, groups) == 0.5


def test_log_odds_are_clipped_and_invert_the_estimate() -> None:
    shares = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(predict(log_odds(shares)[:, None], np.array([0.0, 1.0])), shares)
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_families_count_the_same_in_every_figure() -> None:
    part = pd.DataFrame({"family": ["a"] * 9 + ["b", "c"]})
    found = resampled(part, pd.Series([0.0] * 9 + [0.3, 0.3]))
    assert found.value == pytest.approx(0.2)
    assert found.low < found.value < found.high


# what was measured


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return read_rows(expected.RESULTS)


def test_the_constants_that_ship_are_those_that_all_families_choose() -> None:
    table = expected.table_of(read_rows(expected.CHECKPOINTS))
    for name, value in expected.shipped(table).items():
        assert getattr(expected_score, name) == pytest.approx(value, abs=5.1e-4), name


def test_the_constants_with_flatness_are_those_that_all_families_choose_and_few_samples_are_covered() -> None:
    saved = read_rows(expected_flatness.FLAT)
    own = [row for row in saved if row["method"] == "support and flatness"]
    chosen = expected_flatness.known_of(own, expected_flatness.FORMULAS["support and flatness"]).choose()
    names = ("INTERCEPT_FLAT", "SLOPE_FLAT", "FLATNESS", "HALF_WIDTH_FLAT")
    for name, value in zip(names, (*chosen.constants, chosen.half_width), strict=True):
        assert getattr(expected_score, name) == pytest.approx(value, abs=5.1e-4), name
    few = pd.DataFrame(read_rows(expected_few.FEW))
    held = (few["low"] <= few["true"]) & (few["true"] <= few["high"])
    assert (held.groupby(few["samples"]).mean() >= expected_score.COVERAGE).all()


def test_the_constants_of_the_classes_are_those_that_were_fitted() -> None:
    fitted = read_json(expected.RESULTS.with_name("risk_scores.json"))["fitted"]
    for name in ("CLASS_ACCURACY", "CLASS_AGREEMENT", "CLASS_HALF_WIDTH"):
        assert getattr(generalization_gap, name) == pytest.approx(fitted[name], abs=5.1e-4), name
    assert fit.half_width(np.array([0.1, 0.2, 0.3]), 2) == pytest.approx(0.3)


def test_every_row_says_which_family_had_no_part_in_it(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["left_out"] == row["family"]
        assert row["low"] <= row["predicted"] <= row["high"]
        assert row["expected"] == pytest.approx(row["train_accuracy"] - row["predicted"], abs=2e-6)
    kinds = {(row["dataset"], row["family"]) for row in rows if row["kind"] != "synthetic"}
    assert len(kinds) >= 21
    assert len({family for _, family in kinds}) >= 15


def test_the_report_and_the_readme_say_how_good_it_is(rows: list[dict[str, Any]]) -> None:
    table = table_of_rows(rows)
    ours = strata(table[(table["method"] == expected.OURS) & (table["labels"] == "right")])
    all_real, fitted = (quality(ours[name]) for name in ("all on real data", "training accuracy ≥ 0.99"))
    record = TRACK_RECORD
    assert (record.checkpoints, record.families) == (all_real.checkpoints, all_real.families)
    assert (record.mean_error, record.bias) == pytest.approx(
        (all_real.error.value, all_real.bias.value), abs=5e-4
    )
    assert record.covered == round(all_real.covered.value, 2)
    assert record.covered_fitted == round(fitted.covered.value, 2)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"On {all_real.checkpoints} checkpoints of {all_real.families} families of data sets" in readme
    assert f"the mean absolute error was {100 * all_real.error.value:.1f} points" in readme
    assert f"it was {100 * fitted.error.value:.1f}." in readme
    assert f"± {100 * expected_score.HALF_WIDTH:.1f} points, held {all_real.covered.value:.0%}" in readme
    assert f"and {fitted.covered.value:.0%} for those networks" in readme


def test_it_is_better_than_every_estimate_that_needs_no_more(rows: list[dict[str, Any]]) -> None:
    table = table_of_rows(rows)
    right = table[table["labels"] == "right"]
    errors = {
        method.name: quality(strata(right[right["method"] == method.name])["all on real data"]).error.value
        for method in expected.METHODS
        if not method.given
    }
    ours = errors.pop(expected.OURS)
    for name, error in errors.items():
        if not name.startswith(("cohaudit", "support")):
            assert ours < error, name
    assert errors[expected.CROSSFIT] < ours < errors[expected.ALONE]
    assert not math.isnan(ours)
