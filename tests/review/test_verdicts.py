"""The two verdicts on ten constructed audits: what page, gates and diff have to say of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audits import make_audit
from support.page import Page

from cohaudit.report import render_html
from cohaudit.results import LEVELS, Audit, Estimate, Risk, Skipped, WrongLabels
from cohaudit.results.gap import risk_level
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

BASE = make_audit(samples=60, layers=2, classes=4)
RISK_LEVELS = (0.05, 0.1, 0.2)
LABEL_LEVELS = (0.02, 0.05, 0.15)


def audit_of(
    *,
    accuracy: float,
    gap: tuple[float, float],
    share: tuple[float, float, float],
    told: bool = True,
    data: str = "same",
) -> Audit:
    """Return an audit with a gap and half of its interval, and a share of wrong labels and its bounds."""
    value, half = gap
    assert isinstance(BASE.risk, Risk)
    estimate = Estimate(value, value - half, value + half)
    low, middle, high = (min(max(accuracy - one, 0.0), 1.0) for one in (value + half, value, value - half))
    expected = Estimate(middle, low, high)
    risk = replace(
        BASE.risk,
        expected=expected,
        expected_given=expected,
        gap=estimate,
        predicted=estimate,
        level=risk_level(value, RISK_LEVELS),
        drivers=(),
    )
    bounds = Estimate(*share)
    wrong = WrongLabels(bounds, share[0], 0.9 if told else 0.1, told, label_level(bounds, told, LABEL_LEVELS))
    samples = BASE.samples if told else BASE.samples.assign(suspect=False)
    return replace(
        BASE,
        risk=risk,
        wrong_labels=wrong,
        samples=samples,
        evidence=BASE.evidence if told else (),
        sanity=replace(BASE.sanity, accuracy=accuracy),
        subject=replace(BASE.subject, data_fingerprint=data),
        settings={**BASE.settings, "risk_levels": RISK_LEVELS, "label_levels": LABEL_LEVELS},
    )


CLEAN = audit_of(accuracy=0.97, gap=(0.01, 0.03), share=(0.001, 0.0, 0.004), told=False)
OVERFIT = audit_of(accuracy=1.0, gap=(0.25, 0.05), share=(0.001, 0.0, 0.004), told=False)
DIRTY = audit_of(accuracy=0.74, gap=(-0.09, 0.05), share=(0.26, 0.25, 0.31))
DIRTY_AND_OVERFIT = audit_of(accuracy=1.0, gap=(0.3, 0.05), share=(0.26, 0.25, 0.31))
CLEANED = audit_of(accuracy=0.86, gap=(0.013, 0.05), share=(0.18, 0.17, 0.22), data="cleaned")
HARD = audit_of(accuracy=0.8, gap=(0.02, 0.02), share=(0.06, 0.0, 0.14), told=False)
WIDE = audit_of(accuracy=0.9, gap=(0.03, 0.08), share=(0.01, 0.005, 0.03))
RETRAINED = audit_of(accuracy=0.745, gap=(-0.088, 0.05), share=(0.262, 0.252, 0.31))
WORSE = audit_of(accuracy=0.74, gap=(-0.04, 0.05), share=(0.26, 0.25, 0.31))
NOISIER = audit_of(accuracy=0.74, gap=(-0.09, 0.05), share=(0.30, 0.29, 0.35), data="relabeled")

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
    assert "Check the suspects, and correct or drop the wrong ones" in words
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
        "Fewer labels are wrong: 18.0% of the labels are wrong, from 26.0%.",
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
