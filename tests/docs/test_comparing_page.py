"""docs/comparing.md says what the benchmarks of `cohaudit diff` and the code say."""

from __future__ import annotations

from support.pages import ROOT

from benchmarks.docs.comparing import PAGE, load
from cohaudit.review.diff.label_changes import MIN_EFFECT, SIGNIFICANCE
from cohaudit.review.diff.verdict_changes import SCORE_BOUND, SHARE_BOUND, SHARE_FACTOR

TEXT = (ROOT / "docs/comparing.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_results() -> None:
    assert {found[2] for found in PAGE.pattern.finditer(TEXT)} == set(PAGE.blocks)
    assert PAGE.rewrite(TEXT, load()) == TEXT, "run python -m benchmarks.docs.comparing"


def test_the_bounds_are_those_of_the_code() -> None:
    words = " ".join(TEXT.split())
    assert f"from {100 * SCORE_BOUND:.0f} points on" in words
    assert f"from {100 * SHARE_BOUND:.1f} points on, or from {SHARE_FACTOR:.0%} of the larger share" in words
    assert f"(sign test, {SIGNIFICANCE:.0%}) and by at least {MIN_EFFECT:.1%} of the samples" in words
