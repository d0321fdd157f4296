"""The two verdicts side by side: the labels, and the score on new data, each on its scale of levels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cohaudit.config.used import setting
from cohaudit.report.html.view._gauge import Gauge, build_gauge
from cohaudit.report.words import count, percent, prose
from cohaudit.results import Audit, Estimate, Skipped, format_points
from cohaudit.review.verdicts import Verdict, generalization_verdict, label_verdict


@dataclass(frozen=True)
class VerdictCard:
    """One of the two verdicts."""

    name: str
    level: str
    term: str
    """What the number is, as the page's other places name it."""
    value: str
    """The number; empty without a verdict."""
    unit: str
    """What the number is."""
    sentence: str
    gauge: Gauge | None
    """The number, or for a score its gap, on the scale of the levels."""
    reading: str
    """What the gauge shows, for readers who do not see it; empty without one."""
    caption: str
    """What the gauge's numbers are; empty where the card says it already."""


def build_verdict_cards(audit: Audit) -> tuple[VerdictCard, VerdictCard]:
    """Return both verdicts."""
    return _labels(audit, label_verdict(audit)), _generalization(audit, generalization_verdict(audit))


def _labels(audit: Audit, verdict: Verdict) -> VerdictCard:
    number = verdict.number
    if isinstance(number, Skipped):
        return VerdictCard("Labels", "none", "wrong labels", "", "", prose(verdict.sentence), None, "", "")
    wrong = audit.labels.wrong
    told = not isinstance(wrong, Skipped) and wrong.told
    gauge = build_gauge(number, setting(audit.settings, "label_levels"), "%")
    return VerdictCard(
        name="Labels",
        level=verdict.level,
        term="wrong labels",
        value=percent(number.value) if told else f"≤ {percent(number.high)}",
        unit=_wrong_labels(audit, number) if told else "of the labels may be wrong",
        sentence=prose(verdict.sentence),
        # where it cannot be told, the value is a guess: only the bound is shown
        gauge=gauge if told else replace(gauge, position=""),
        reading=f"Share of wrong labels: {percent(number.low)} to {percent(number.high)}",
        caption="",
    )


def _wrong_labels(audit: Audit, share: Estimate) -> str:
    samples = audit.subject.samples
    return f"of the labels are wrong: about {count(round(share.value * samples))} of {count(samples)}"


def _generalization(audit: Audit, verdict: Verdict) -> VerdictCard:
    number = verdict.number
    if isinstance(number, Skipped) or isinstance(audit.risk, Skipped):
        return VerdictCard(
            "Generalization", "none", "expected accuracy", "", "", prose(verdict.sentence), None, "", ""
        )
    gap = audit.risk.gap
    return VerdictCard(
        name="Generalization",
        level=verdict.level,
        term="expected accuracy",
        value=percent(number.value),
        unit="accuracy expected on new data",
        sentence=prose(f"{verdict.sentence} {verdict.detail}"),
        gauge=build_gauge(gap, setting(audit.settings, "risk_levels")),
        reading=f"Gap to the training accuracy: {format_points(gap)}",
        caption=f"Scale: gap to the training accuracy, {format_points(gap)}",
    )
