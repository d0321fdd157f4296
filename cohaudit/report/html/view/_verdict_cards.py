"""The two verdicts side by side: the labels, and the score on new data, each on its scale of levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cohaudit.config.used import setting
from cohaudit.report.words import compact, percent, prose
from cohaudit.results import LEVELS, Audit, Estimate, Level, Skipped, format_points
from cohaudit.review.verdicts import Verdict, generalization_verdict, label_verdict

GAP_SCALE_END = 0.4
"""Gap at which its scale ends: twice the default bound of a severe one, so that its band stays visible."""
SHARE_SCALE_END = 0.3
"""Share of wrong labels at which its scale ends, for the same reason."""


@dataclass(frozen=True)
class Band:
    """The part of a scale that a level takes."""

    level: Level
    width: str
    """Width as a CSS percentage."""
    start: str
    """Number at which it begins, in words."""


@dataclass(frozen=True)
class Scale:
    """A number with its interval on a scale of levels."""

    label: str
    """What the scale shows, for readers who do not see it."""
    position: str
    """The number's place, as a CSS percentage; empty where only the interval means something."""
    reach: tuple[str, str]
    """Where the interval begins, and how wide it is, as CSS percentages."""
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class VerdictCard:
    """One of the two verdicts."""

    name: str
    level: str
    value: str
    """The number; empty without a verdict."""
    unit: str
    """What the number is."""
    sentence: str
    scale: Scale | None


def build_verdict_cards(audit: Audit) -> tuple[VerdictCard, VerdictCard]:
    """Return both verdicts."""
    return _labels(audit, label_verdict(audit)), _generalization(audit, generalization_verdict(audit))


def _labels(audit: Audit, verdict: Verdict) -> VerdictCard:
    number = verdict.number
    if isinstance(number, Skipped):
        return VerdictCard("Labels", "none", "", "", prose(verdict.sentence), None)
    wrong = audit.labels.wrong
    told = not isinstance(wrong, Skipped) and wrong.told
    return VerdictCard(
        name="Labels",
        level=verdict.level,
        value=percent(number.value) if told else f"≤ {percent(number.high)}",
        unit="of the labels are wrong" if told else "of the labels may be wrong",
        sentence=prose(verdict.sentence),
        scale=Scale(
            label=f"Share of wrong labels: {percent(number.low)} to {percent(number.high)}",
            position=_place(number.value, SHARE_SCALE_END) if told else "",
            reach=_reach(number, SHARE_SCALE_END),
            bands=tuple(_bands(setting(audit.settings, "label_levels"), SHARE_SCALE_END, "%")),
        ),
    )


def _generalization(audit: Audit, verdict: Verdict) -> VerdictCard:
    number = verdict.number
    if isinstance(number, Skipped) or isinstance(audit.risk, Skipped):
        return VerdictCard("Generalization", "none", "", "", prose(verdict.sentence), None)
    gap = audit.risk.gap
    return VerdictCard(
        name="Generalization",
        level=verdict.level,
        value=percent(number.value),
        unit="accuracy expected on new data",
        sentence=prose(verdict.sentence),
        scale=Scale(
            label=f"Gap to the training accuracy: {format_points(gap)}",
            position=_place(gap.value, GAP_SCALE_END),
            reach=_reach(gap, GAP_SCALE_END),
            bands=tuple(_bands(setting(audit.settings, "risk_levels"), GAP_SCALE_END, "")),
        ),
    )


def _share(value: float, end: float) -> float:
    return min(max(value / end, 0.0), 1.0)


def _place(value: float, end: float) -> str:
    return f"{_share(value, end):.1%}"


def _reach(number: Estimate, end: float) -> tuple[str, str]:
    # both ends are clipped before the width is taken, else the bar would leave the scale
    low = _share(number.low, end)
    high = _share(number.high, end)
    return f"{low:.1%}", f"{high - low:.1%}"


def _bands(bounds: Sequence[float], end: float, unit: str) -> Iterator[Band]:
    # a bound beyond the end of the scale gives a band of no width
    edges = (0.0, *(_share(bound, end) for bound in bounds), 1.0)
    starts = (0.0, *bounds)
    for level, low, high, start in zip(LEVELS, edges[:-1], edges[1:], starts, strict=True):
        yield Band(level, f"{high - low:.1%}", f"{compact(100 * start)}{unit}")
