"""docs/risk.md says what benchmarks/results/risk.json and the code say."""

from __future__ import annotations

import json
import re
from statistics import NormalDist

import numpy as np
import pytest
from support.pages import ROOT

from cohaudit.analysis import generalization_gap as gap

PAGE = " ".join((ROOT / "docs/risk.md").read_text(encoding="utf-8").split())


def test_the_first_lines_are_what_was_measured() -> None:
    rows = json.loads((ROOT / "benchmarks/results/risk.json").read_text(encoding="utf-8"))
    unseen = [row for row in rows if row["auditable"] and row["half"] == "unseen"]

    def held(networks: list[dict[str, float]]) -> str:
        inside = [row["low"] <= row["gap"] <= row["high"] for row in networks]
        return f"{100 * np.mean(inside):.0f}%"

    fitted = [row for row in unseen if row["train_accuracy"] >= 0.99]
    errors = np.array([row["predicted gap"] - row["gap"] for row in unseen])
    assert f"On {len(unseen)} small networks" in PAGE
    assert f"mean absolute error is {100 * np.abs(errors).mean():.1f} points" in PAGE
    assert f"too high by {100 * errors.mean():.1f} points" in PAGE
    assert f"contains {held(unseen)} of the true gaps. On the {len(fitted)} of these networks" in PAGE
    assert f"it contains {held(fitted)}." in PAGE


def test_the_formula_has_the_constants_of_the_code() -> None:
    shown = re.search(r"σ\(−([\d.]+) \+ ([\d.]+) · logit x − ([\d.]+) · ℓ \+ ([\d.]+) · log₁₀ N\)", PAGE)
    assert shown is not None
    constants = (-gap.INTERCEPT, gap.AGREEMENT, -gap.LOSS, gap.DECADES)
    assert [float(number) for number in shown.groups()] == list(constants)
    assert f"The interval** is ± {100 * gap.HALF_WIDTH:.1f} points" in PAGE
    assert f"The interval is ± {100 * gap.CLASS_HALF_WIDTH:.1f} points" in PAGE


@pytest.mark.parametrize(("times", "accuracy"), [(9, 0.5), (25, 0.9)])
def test_the_weight_of_a_holdout_is_as_told(times: int, accuracy: float) -> None:
    samples = 500
    share = (accuracy * samples + 1) / (samples + 2)
    weight = (gap.HALF_WIDTH / NormalDist().inv_cdf((1 + gap.COVERAGE) / 2)) ** 2 / (
        share * (1 - share) / (samples + 2)
    )
    assert round(weight) == times
    assert f"{times} times" in PAGE
    assert f"{100 * accuracy:.0f}%" in PAGE
