"""What is wrong and what to do next: the largest causes, linked to their evidence, and actions by effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cohaudit.analysis.quantiles import Z_80
from cohaudit.report.html.view._tables import MAX_TABLE_ROWS
from cohaudit.report.limits import MAX_CAUSES
from cohaudit.report.words import Text, count, points, text
from cohaudit.results import Audit, Driver, Holdout, Risk, Skipped, by_gap
from cohaudit.review.verdicts import BAD_LEVELS, label_verdict

_HOLDOUT_SAMPLES = 1000
"""Holdout samples for which the page says how narrow the interval becomes."""
CLEANED = (0.2, 0.55)
"""Smallest and largest share of the memorized samples' part of the gap that disappeared when benchmark
networks were retrained without their suspects, or with suggested labels (benchmarks/detection/actions.py)."""
_TITLES: Mapping[str, tuple[str, str]] = {
    "samples": ("Memorized labels", ""),
    "layer": ("Memorized labels become readable at layer", ""),
    "class": ("Class", "generalizes poorly"),
    "training": ("Nearly every training label is fitted", ""),
}
"""Kind of a driver → what the page writes before and after its name."""
_WHERE: Mapping[str, str] = {
    "samples": "see the samples",
    "layer": "see the layer",
    "class": "see the class",
    "training": "see what was audited",
}
"""Kind of a driver → text of the link to its evidence."""


@dataclass(frozen=True)
class Cause:
    """One of the largest causes of the gap."""

    title: str
    """What stands before the name."""
    name: Text
    """Name of the layer or class; empty for other kinds."""
    title_end: str
    """What stands after the name."""
    part: str
    """Its share of the gap; empty where unknown."""
    reason: Text
    link: str
    """Place of its evidence on the page, as '#id'."""


@dataclass(frozen=True)
class Action:
    """Something to do."""

    words: Text
    effect: str
    """Expected effect."""
    link: str
    """Place on the page that says more, as '#id'."""
    where: str
    """Text of the link."""


def build_causes(audit: Audit) -> tuple[Cause, ...]:
    """Return the largest causes of the gap."""
    if isinstance(audit.risk, Skipped):
        return ()
    places = EvidenceLinks(audit)
    return tuple(
        Cause(
            title=_TITLES[driver.kind][0],
            # a driver that is neither a layer nor a class has its kind as its name
            name=text("" if driver.name == driver.kind else driver.name, 40),
            title_end=_TITLES[driver.kind][1],
            part=_share(driver, audit.risk),
            reason=text(driver.reason, 400),
            link=places.of(driver),
        )
        for driver in audit.risk.drivers[:MAX_CAUSES]
    )


def build_actions(audit: Audit) -> tuple[Action, ...]:
    """Return what to do: the largest expected effect first, actions of unknown effect last."""
    if not audit.sanity.auditable:
        words = "Use the weights, labels and preprocessing that the model was trained with, and scan again."
        return (Action(text(words, 400), "Needed for a verdict", "#skipped", "see what was skipped"),)
    risk = audit.risk
    if isinstance(risk, Skipped):
        return tuple(_label_actions(audit))
    places = EvidenceLinks(audit)
    # One action per class would push actions of other kinds off the first screen.
    classes = [driver for driver in risk.drivers if driver.kind == "class"]
    single = [driver for driver in risk.drivers if driver.kind != "class" or len(classes) == 1]
    known = [
        *((one.lowers, _action(one, places)) for one in single if not isinstance(one.lowers, Skipped)),
        *(_more_of(classes, risk) if len(classes) > 1 else ()),
        *_other_checkpoint(audit),
    ]
    # by the number alone: actions have no order
    known.sort(key=lambda pair: pair[0], reverse=True)
    return (
        *_label_actions(audit),
        *(action for _, action in known),
        *(_action(one, places) for one in single if isinstance(one.lowers, Skipped)),
        *_measure_gap(audit, risk),
    )


def _label_actions(audit: Audit) -> Iterator[Action]:
    """Yield what to do about the labels, where the verdict on them asks for it."""
    verdict = label_verdict(audit)
    drivers = () if isinstance(audit.risk, Skipped) else audit.risk.drivers
    if any(driver.kind == "samples" for driver in drivers):
        # its remedy is about the same samples
        return
    if verdict.level == "unclear" or (verdict.level in BAD_LEVELS and audit.suspects.empty):
        words = "Review a few dozen labels: cohaudit review audit.json."
        effect = "Your answers tell how many labels are wrong, and which"
        yield Action(text(words, 400), effect, "#suspects", "see the samples")
    elif verdict.level in BAD_LEVELS:
        words = "Check the suspects, and correct or drop the wrong ones: cohaudit correct audit.json."
        yield Action(text(words, 400), verdict.sentence.rstrip("."), "#suspects", "see the suspects")


def _action(driver: Driver, places: EvidenceLinks) -> Action:
    if isinstance(driver.lowers, Skipped):
        effect = "Effect unknown: retrain and compare (cohaudit diff)"
    elif driver.kind == "samples":
        low, high = (points(part * driver.lowers) for part in CLEANED)
        effect = (
            f"Lowers the gap by {low} to {high} points (range seen when benchmark networks were retrained on "
            "cleaned data)"
        )
    else:
        effect = f"Lowers the gap by up to {points(driver.lowers)} points"
    return Action(text(driver.remedy, 400), effect, places.of(driver), _WHERE[driver.kind])


def _more_of(classes: Sequence[Driver], risk: Risk) -> Iterator[tuple[float, Action]]:
    """Combine several classes into one action: no sample is in two of them, so their shares add up."""
    names = [text(driver.name, 40).short for driver in classes]
    total = sum(driver.lowers for driver in classes if not isinstance(driver.lowers, Skipped))
    # shares are upper estimates and add up: no action may promise more than the whole gap
    lowers = min(total, risk.gap.value)
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    words = f"Collect more samples of the classes {listed}. Look at their suspects first."
    effect = f"Lowers the gap by up to {points(lowers)} points"
    yield lowers, Action(text(words, 400), effect, "#classes", "see the classes")


def _share(driver: Driver, risk: Risk) -> str:
    if isinstance(driver.lowers, Skipped):
        return ""
    return f"{points(driver.lowers)} of {points(risk.gap.value)} points"


def _other_checkpoint(audit: Audit) -> Iterator[tuple[float, Action]]:
    """Yield the advice to use an earlier checkpoint, if one was measured to be better."""
    found = audit.audits.trajectory
    if isinstance(found, Skipped) or found.advised == len(found.points) - 1:
        return
    gain = found.points[found.advised].rating - found.points[-1].rating
    if gain <= 0:
        return
    words = f"Use the checkpoint {found.points[found.advised].checkpoint} instead of the last one."
    effect = f"Its rating is {points(gain)} points higher"
    yield gain, Action(text(words, 400), effect, "#audit-trajectory", "see the checkpoints")


def _measure_gap(audit: Audit, risk: Risk) -> Iterator[Action]:
    """Yield the advice to measure the gap, unless it was measured or measuring would not narrow it."""
    if isinstance(risk.holdout, Holdout):
        return
    expected = risk.expected.value
    # Normal approximation of a binomial share: good enough to say whether measuring is worth it.
    narrow = Z_80 * math.sqrt(expected * (1 - expected) / _HOLDOUT_SAMPLES)
    now = (risk.gap.high - risk.gap.low) / 2
    if narrow >= now:
        return
    words = f"Measure the gap on {count(_HOLDOUT_SAMPLES)} samples that the model has never seen (--holdout)."
    effect = f"Narrows the interval of the gap to ±{points(narrow)} points (now ±{points(now)})"
    yield Action(text(words, 400), effect, "#method", "see the method")


class EvidenceLinks:
    """Where the page shows a layer or class.

    Args:
        audit: Result of a scan.
    """

    def __init__(self, audit: Audit) -> None:
        # numbered as the tables number the ids of their rows, of which they show the first
        layers = audit.layers[:MAX_TABLE_ROWS]
        classes = by_gap(audit.classes)[:MAX_TABLE_ROWS]
        self._layers = {layer.name: i for i, layer in enumerate(layers, 1)}
        self._classes = {one.name: i for i, one in enumerate(classes, 1)}

    def of(self, driver: Driver) -> str:
        """Return the link to the evidence of a driver."""
        if driver.kind == "class":
            return f"#class-{self._classes[driver.name]}" if driver.name in self._classes else "#classes"
        if driver.kind == "layer":
            return f"#layer-{self._layers[driver.name]}" if driver.name in self._layers else "#depth"
        return "#suspects" if driver.kind == "samples" else "#audited"
