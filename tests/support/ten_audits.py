"""Ten constructed audits, on which page, gates and difference have to agree; docs/reading.md shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from support.audits import make_audit
from support.differences import relabeled, with_order

from cohaudit.results import Audit, Estimate, Risk, WrongLabels
from cohaudit.results.gap import risk_level
from cohaudit.results.labels import label_level
from cohaudit.review.check import check
from cohaudit.review.diff.compare import compare
from cohaudit.review.verdicts import overall_headline

BASE = make_audit(samples=60, layers=2, classes=4)
RISK_LEVELS = (0.05, 0.1, 0.2)
LABEL_LEVELS = (0.02, 0.05, 0.15)


def audit_of(
    *,
    accuracy: float,
    gap: tuple[float, float],
    share: tuple[float, float, float],
    told: bool = True,
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
        settings={**BASE.settings, "risk_levels": RISK_LEVELS, "label_levels": LABEL_LEVELS},
    )


CLEAN = audit_of(accuracy=0.97, gap=(0.01, 0.03), share=(0.001, 0.0, 0.004), told=False)
OVERFIT = audit_of(accuracy=1.0, gap=(0.25, 0.05), share=(0.001, 0.0, 0.004), told=False)
DIRTY = with_order(audit_of(accuracy=0.74, gap=(-0.09, 0.05), share=(0.26, 0.25, 0.31)), range(15))
DIRTY_AND_OVERFIT = audit_of(accuracy=1.0, gap=(0.3, 0.05), share=(0.26, 0.25, 0.31))
CLEANED = with_order(
    relabeled(audit_of(accuracy=0.86, gap=(0.013, 0.05), share=(0.18, 0.17, 0.22)), range(5)), range(5, 15)
)
HARD = audit_of(accuracy=0.8, gap=(0.02, 0.02), share=(0.06, 0.0, 0.14), told=False)
WIDE = audit_of(accuracy=0.9, gap=(0.03, 0.08), share=(0.01, 0.005, 0.03))
RETRAINED = audit_of(accuracy=0.745, gap=(-0.088, 0.05), share=(0.262, 0.252, 0.31))
WORSE = audit_of(accuracy=0.74, gap=(-0.04, 0.05), share=(0.26, 0.25, 0.31))
NOISIER = with_order(
    relabeled(audit_of(accuracy=0.74, gap=(-0.09, 0.05), share=(0.30, 0.29, 0.35)), range(20, 25)),
    range(15, 25),
)

TEN = {
    "clean": CLEAN,
    "overfit": OVERFIT,
    "wrong labels": DIRTY,
    "wrong labels, and overfit": DIRTY_AND_OVERFIT,
    "some of them corrected": CLEANED,
    "hard samples": HARD,
    "wide interval": WIDE,
    "wrong labels, another seed": RETRAINED,
    "wrong labels, worse on new data": WORSE,
    "more wrong labels": NOISIER,
}
"""Name → audit."""
BASES = {
    "overfit": "clean",
    "wrong labels": "some of them corrected",
    "wrong labels, and overfit": "wrong labels",
    "some of them corrected": "wrong labels",
    "wrong labels, another seed": "wrong labels",
    "wrong labels, worse on new data": "wrong labels",
    "more wrong labels": "wrong labels",
}
"""Name of an audit → the one that it is compared with."""
GATES = ("wrong_labels>5%", "expected_score<0.8", "risk>=high")
"""Conditions of gates."""


def table() -> Iterator[str]:
    """Yield the lines of the table of all verdicts, in Markdown."""
    yield f"| audit | page | {' | '.join(f'`{gate}`' for gate in GATES)} | `diff` |"
    yield "|---" * (len(GATES) + 3) + "|"
    for name, audit in TEN.items():
        gates = [check(audit, fail_on=gate).gates[0].outcome for gate in GATES]
        base = BASES.get(name)
        found = "–" if base is None else f"{compare(TEN[base], audit).headline} (*{base}*)"
        yield f"| {' | '.join([name, overall_headline(audit), *gates, found])} |"
