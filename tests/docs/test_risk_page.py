"""docs/risk.md says what benchmarks/results/gap.json and the code say."""

from __future__ import annotations

import re
from statistics import NormalDist

import pytest
from support.pages import ROOT

from benchmarks.docs.expected import PAGE as PAGE_OF_RISK
from benchmarks.generalization.expected import RESULTS
from benchmarks.generalization.expected_tables import table_of_rows
from benchmarks.shared.results import read_rows
from cohaudit.analysis import expected_score as score
from cohaudit.analysis import generalization_gap as gap

TEXT = (ROOT / "docs/risk.md").read_text(encoding="utf-8")
PAGE = " ".join(TEXT.split())


def test_the_tables_are_those_of_the_results() -> None:
    assert {found[2] for found in PAGE_OF_RISK.pattern.finditer(TEXT)} == set(PAGE_OF_RISK.blocks)
    assert PAGE_OF_RISK.rewrite(TEXT, table_of_rows(read_rows(RESULTS))) == TEXT


def test_the_formulas_have_the_constants_of_the_code() -> None:
    shown = [tuple(map(float, found)) for found in re.findall(r"σ\(([\d.]+) \+ ([\d.]+) · logit x\)", PAGE)]
    assert shown == [(score.INTERCEPT, score.SLOPE)] * 2 + [(score.INTERCEPT_ALONE, score.SLOPE_ALONE)]
    (copies,) = re.findall(r"σ\(([\d.]+) \+ ([\d.]+) · logit x \+ ([\d.]+) · logit f\)", PAGE)
    constants = (score.INTERCEPT_CROSSFIT, score.SLOPE_CROSSFIT, score.OUT_OF_FOLD)
    assert tuple(map(float, copies)) == constants
    flat = (score.INTERCEPT_FLAT, score.SLOPE_FLAT, score.FLATNESS)
    first, *others = (f"{constant:.3f}".replace("-", "−") for constant in flat)
    assert f"σ({first} + {others[0]} · logit x + {others[1]} · logit s)" in PAGE
    widths = (score.HALF_WIDTH, score.HALF_WIDTH_ALONE, score.HALF_WIDTH_FLAT, score.HALF_WIDTH_CROSSFIT)
    assert [float(found) for found in re.findall(r"\| ± ([\d.]+) points \|", PAGE)] == [
        round(100 * width, 1) for width in widths
    ]
    assert f"The interval is ± {100 * gap.CLASS_HALF_WIDTH:.1f} points" in PAGE
    assert f"a standard error of {100 * score.JUDGED_ERROR:.1f} points" in PAGE


@pytest.mark.parametrize(("times", "accuracy"), [(7, 0.5), (20, 0.9), (153, 0.99)])
def test_the_weight_of_a_holdout_is_as_told(times: int, accuracy: float) -> None:
    spread = score.HALF_WIDTH / NormalDist().inv_cdf((1 + score.COVERAGE) / 2)
    assert round((spread / score.sampling_error(accuracy, 500)) ** 2) == times
    assert f"{times} times at {100 * accuracy:.0f}%" in PAGE
    assert round((spread / score.JUDGED_ERROR) ** 2) == 5
