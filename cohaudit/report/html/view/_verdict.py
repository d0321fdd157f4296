"""The first screen: what was audited, what came out, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cohaudit.config.used import setting
from cohaudit.report.html.view._actions import Action, Cause, build_actions, build_causes
from cohaudit.report.html.view._facts import Notice, Tile, build_facts, build_notices, build_tiles
from cohaudit.report.html.view._gap import (
    DriverView,
    TermView,
    build_drivers,
    build_terms,
    holdout_rows,
    reading,
)
from cohaudit.report.html.view._gauge import Gauge, build_gauge
from cohaudit.report.words import Text, compact, percent, points, prose, text
from cohaudit.results import Audit, Holdout, Level, Risk, Skipped, format_points
from cohaudit.results.gap import format_accuracy

_MEANINGS: Mapping[Level, str] = {
    "low": "a gap below {0} points",
    "moderate": "a gap of {0} to {1} points",
    "high": "a gap of {1} to {2} points",
    "severe": "a gap of {2} points or more",
}
"""Level → what it means, given the bounds of the levels in points."""
_TRUST: Mapping[Level, str] = {
    "low": "Its training accuracy can be trusted.",
    "moderate": "Its training accuracy is slightly too optimistic.",
    "high": "Do not trust its training accuracy.",
    "severe": "Its training accuracy says almost nothing about new data.",
}
"""Level → whether to trust the model."""


@dataclass(frozen=True)
class GateView:
    """One condition of the build and its outcome."""

    expression: Text
    outcome: str
    """'failed', 'warned' or 'passed'."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The first screen."""

    level: str
    """The risk level, or 'none' without a verdict."""
    headline: str
    trust: str
    """Whether to trust the model, in a sentence; empty without a verdict."""
    sentence: str
    """What to expect on new data, or why there is no verdict."""
    value: str
    """The gap in points, without its sign; empty without a verdict."""
    unit: str
    """What the value measures."""
    interval: str
    """The gap with its interval, in words; empty without a verdict."""
    gauge: Gauge | None
    """The gap on the scale of its levels; None without a verdict."""
    notices: tuple[Notice, ...]
    tiles: tuple[Tile, ...]
    facts: tuple[tuple[str, Text], ...]
    """What was audited: name and value."""
    terms: tuple[TermView, ...]
    """Parts that the gap is made of."""
    causes: tuple[Cause, ...]
    """The largest causes of the gap."""
    actions: tuple[Action, ...]
    """What to do, the largest expected effect first."""
    drivers: tuple[DriverView, ...]
    """All causes of the gap."""
    holdout: tuple[tuple[str, str], ...]
    """What was measured on the holdout: name and value; empty without one."""
    gates: tuple[GateView, ...]
    reading: str
    """How to read the first screen."""


def build_verdict(audit: Audit) -> Verdict:
    """Return the first screen."""
    level, headline, sentence = _judgment(audit)
    # Every field of the gap is empty without a verdict: a page must not show half of one.
    risk = None if isinstance(audit.risk, Skipped) else audit.risk
    return Verdict(
        level=level,
        headline=headline,
        trust="" if risk is None else _TRUST[risk.level],
        sentence=sentence,
        # without a sign: the unit says lower or higher
        value="" if risk is None else points(abs(risk.gap.value)),
        unit=f"points {'lower' if risk is None or risk.gap.value >= 0 else 'higher'} accuracy on new data",
        interval="" if risk is None else f"{risk.coverage:.0%} interval: {format_points(risk.gap)}",
        gauge=None if risk is None else build_gauge(risk.gap, setting(audit.settings, "risk_levels")),
        notices=tuple(build_notices(audit)),
        tiles=tuple(build_tiles(audit)),
        facts=tuple(build_facts(audit)),
        terms=() if risk is None else tuple(build_terms(risk)),
        causes=build_causes(audit),
        actions=build_actions(audit),
        drivers=() if risk is None else tuple(build_drivers(risk)),
        holdout=() if risk is None else tuple(holdout_rows(risk)),
        gates=tuple(GateView(text(one.expression), one.outcome, prose(one.reason)) for one in audit.gates),
        reading=reading(risk),
    )


def _judgment(audit: Audit) -> tuple[str, str, str]:
    """Return level, headline and the sentence below it."""
    if not audit.sanity.auditable:
        return "none", "Not auditable", prose(f"No verdict: {audit.sanity.reason}")
    if isinstance(audit.risk, Skipped):
        return "none", "Risk not estimated", prose(audit.risk.reason)
    headline = f"{audit.risk.level.capitalize()} risk of overfitting"
    return audit.risk.level, headline, _expectation(audit, audit.risk)


def _expectation(audit: Audit, risk: Risk) -> str:
    """Say what accuracy to expect, from what, and what the level means."""
    bounds = (compact(100 * bound) for bound in setting(audit.settings, "risk_levels"))
    meaning = _MEANINGS[risk.level].format(*bounds)
    accuracy = audit.sanity.accuracy
    source = "the holdout and the training data" if isinstance(risk.holdout, Holdout) else "the training data"
    return (
        f"Expected accuracy on new data: {format_accuracy(risk.expected)}, in training {percent(accuracy)}, "
        f"from {source}. {risk.level.capitalize()} means {meaning}."
    )
