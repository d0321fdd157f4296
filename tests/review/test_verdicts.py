"""The two verdicts on ten constructed audits: what page, gates and diff have to say of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audits import make_audit
from support.page import Page
from support.ten_audits import (
    CLEAN,
    CLEANED,
    DIRTY,
    DIRTY_AND_OVERFIT,
    HARD,
    LABEL_LEVELS,
    NOISIER,
    OVERFIT,
    RETRAINED,
    WIDE,
    WORSE,
    audit_of,
)

from cohaudit.report import render_html
from cohaudit.results import LEVELS, Audit, Estimate, Risk, Skipped
from cohaudit.results.labels import label_level
from cohaudit.review.check import check
from cohaudit.review.diff.compare import compare
from cohaudit.review.verdicts import (
    TRUSTED,
    WORST_LAST,
    expected_score,
    generalization_verdict,
    is_trustworthy,
    label_verdict,
    overall_headline,
    trust_sentence,
    worse_verdict,
)

PAGES = {
    "clean": (CLEAN, "low", "Low risk: 96.0% accuracy expected on new data", True),
    "overfit": (OVERFIT, "severe", "Severe risk of overfitting: 75.0% accuracy expected on new data", False),
    "dirty": (DIRTY, "severe", "Severe risk: about 26.0% of the labels are wrong", False),
    "dirty and overfit": (
        DIRTY_AND_OVERFIT,
        "severe",
        "Severe risk: about 26.0% of the labels are wrong",
        False,
    ),
    "hard": (HARD, "unclear", "Unclear: up to 14.0% of the labels may be wrong", False),
    "wide": (WIDE, "low", "Low risk: 87.0% accuracy expected on new data", False),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_worse_verdict_gives_color_and_headline(name: str) -> None:
    audit, level, headline, trusted = PAGES[name]
    assert (worse_verdict(audit).level, overall_headline(audit)) == (level, headline)
    assert is_trustworthy(audit) == trusted
    page = Page(render_html(audit))
    assert headline in page.words
    assert (TRUSTED in page.words) == trusted
    # both numbers stand on the first screen, whichever is worse
    for verdict in (label_verdict(audit), generalization_verdict(audit)):
        assert verdict.sentence in page.words


def test_many_wrong_labels_are_never_called_nothing_to_do() -> None:
    words = Page(render_html(DIRTY)).words
    assert "Check the suspects, and correct or drop the wrong ones." in words
    assert "It counts wrong labels as right: review these first." in trust_sentence(DIRTY)


GATES = (
    # condition, audit, outcome
    ("wrong_labels>5%", CLEAN, "passed"),
    ("wrong_labels>5%", DIRTY, "failed"),
    # nothing passes because it cannot be told
    ("wrong_labels>5%", HARD, "failed"),
    ("wrong_labels>20%", HARD, "passed"),
    ("wrong_labels<1%", HARD, "failed"),
    # the value is beyond the bound, its interval is not
    ("wrong_labels>0.7%", WIDE, "warned"),
    ("expected_score<0.8", OVERFIT, "warned"),
    ("expected_score<0.85", OVERFIT, "failed"),
    ("expected_score<80%", CLEAN, "passed"),
    ("risk>=high", OVERFIT, "failed"),
    ("risk>=high", DIRTY, "passed"),
)


@pytest.mark.parametrize(
    ("condition", "audit", "outcome"), GATES, ids=[f"{i} {gate[0]}" for i, gate in enumerate(GATES)]
)
def test_gates_are_about_the_verdicts(condition: str, audit: Audit, outcome: str) -> None:
    (gate,) = check(audit, fail_on=condition).gates
    assert gate.outcome == outcome, gate.reason


DIFFERENCES = {
    "another seed": (DIRTY, RETRAINED, "no clear change"),
    "cleaned, so that the gap grew": (DIRTY, CLEANED, "better"),
    "dirtied again": (CLEANED, DIRTY, "worse"),
    "worse on new data": (DIRTY, WORSE, "worse"),
    "better on new data": (WORSE, DIRTY, "better"),
    "more wrong labels": (DIRTY, NOISIER, "worse"),
    "overfit": (CLEAN, OVERFIT, "worse"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_about_the_verdicts(name: str) -> None:
    base, head, headline = DIFFERENCES[name]
    found = compare(base, head)
    assert found.headline == headline
    assert bool(found.regressions) == (headline == "worse")
    assert bool(found.improvements) >= (headline == "better")


def test_a_larger_gap_alone_is_no_regression() -> None:
    # the training accuracy rose by more than the score on new data
    assert isinstance(CLEANED.risk, Risk)
    assert isinstance(DIRTY.risk, Risk)
    assert CLEANED.risk.gap.value > DIRTY.risk.gap.value
    assert compare(DIRTY, CLEANED).improvements == (
        "Fewer labels are wrong: of 5 changed labels, 5 are less suspicious than the label before.",
    )


def test_a_model_at_chance_has_no_verdict() -> None:
    nothing = make_audit(auditable=False, samples=60, layers=2, classes=4)
    assert overall_headline(nothing) == "Not auditable"
    assert isinstance(expected_score(nothing), Skipped)
    assert not is_trustworthy(nothing)
    for condition in ("wrong_labels>50%", "expected_score<0.01"):
        assert check(nothing, fail_on=condition).failed


@given(st.floats(0, 1), st.floats(-0.2, 0.6), st.floats(0, 0.5), st.booleans())
def test_no_verdict_hides_the_worse_one(accuracy: float, gap: float, share: float, told: bool) -> None:
    audit = audit_of(accuracy=accuracy, gap=(gap, 0.05), share=(share, share / 2, 1.5 * share), told=told)
    worse = WORST_LAST.index(worse_verdict(audit).level)
    both = (label_verdict(audit), generalization_verdict(audit))
    assert worse == max(WORST_LAST.index(one.level) for one in both)
    score = expected_score(audit)
    assert isinstance(score, Estimate)
    assert 0 <= score.low <= score.value <= score.high <= 1
    # trust needs both to be low
    assert not is_trustworthy(audit) or {one.level for one in both} == {"low"}


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_is_never_a_better_level(first: float, second: float) -> None:
    low, high = sorted((first, second))
    levels = [label_level(Estimate(one, one, one), True, LABEL_LEVELS) for one in (low, high)]
    assert LEVELS.index(levels[0]) <= LEVELS.index(levels[1])  # type: ignore[arg-type]
    untold = [label_level(Estimate(0, 0, one), False, LABEL_LEVELS) for one in (low, high)]
    assert untold != ["unclear", "low"]
