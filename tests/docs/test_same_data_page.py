"""docs/same_data.md says what benchmarks/results/same_data.json and the code say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.same_data.cells import MAX_TEST, SAMPLES, TABLE
from benchmarks.same_data.comparison import RESULT
from benchmarks.same_data.recipes import RECIPES
from benchmarks.same_data.tables import report
from benchmarks.shared.results import read_json
from cohaudit.audits.flatness import FORWARD_PASSES, MAX_SAMPLES
from cohaudit.review.diff.ranking import FITTED, SLOPE, TOLD

TEXT = (Path(__file__).parents[2] / "docs/same_data.md").read_text(encoding="utf-8")
PAGE = " ".join(TEXT.split())


@cache
def saved() -> dict[str, Any]:
    found: dict[str, Any] = read_json(RESULT)
    return found


def scored(measure: str) -> dict[str, Any]:
    return next(one for one in saved()["measures"] if (one["stratum"], one["measure"]) == ("fitted", measure))


def test_the_tables_are_those_of_the_results() -> None:
    for table in report(saved()).split("\n\n"):
        assert table in TEXT


def test_the_summary_says_what_was_measured() -> None:
    flat = scored("flatness")
    expected = scored("expected accuracy")
    about = saved()["strata"][0]
    told = next(one for one in saved()["calibration"] if one["measure"] == "flatness")
    for words in (
        f"τ is {expected['tau']:.2f} over {about['pairs']} pairs",
        f"(90% interval {expected['low']:.2f} to {expected['high']:.2f}), where {about['ceiling']:.2f}",
        f"τ {flat['tau']:.2f} ({flat['low']:.2f} to {flat['high']:.2f}), and with {flat['clear']:.2f}",
        f"which is {told['told']:.0%} of these pairs, and is right in {told['told_right']:.0%}",
        f"Of {told['seed_pairs']} pairs that differ in their seed alone, it named a better one in none",
    ):
        assert words in PAGE, words
    assert told["seed_pairs_told"] == 0


def test_training_again_is_no_better() -> None:
    again = saved()["again"]
    assert {"refitted head, five folds", "out of fold, label", "second seed, all disturbances"} <= {
        one["measure"] for one in again
    }
    assert all(one["better_low"] < 0 for one in again)


def test_combinations_are_no_better() -> None:
    alone, *several = (one["tau"] for one in saved()["combined"])
    assert f"reach τ {min(several):.2f} to {max(several):.2f}: no more" in PAGE
    assert max(several) < alone + 0.01


def test_the_product_takes_what_was_fitted() -> None:
    told = next(one for one in saved()["calibration"] if one["measure"] == "flatness")
    assert round(told["slope"], 1) == SLOPE
    for words in (
        f"σ({SLOPE} ·",
        f"at least {TOLD:.0%} sure",
        f"at least {FITTED:.0%} of the labels",
        f"It takes {FORWARD_PASSES} forward passes",
        f"up to {MAX_SAMPLES:,} training samples",
        f"the same {SAMPLES} samples, in {2 * len(TABLE)} cells",
        f"up to {MAX_TEST:,} other samples",
    ):
        assert words in PAGE, words
    assert RECIPES == 10
