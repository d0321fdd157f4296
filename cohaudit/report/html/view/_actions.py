"""What is wrong and what to do next: the largest causes, linked to what shows them, and actions by effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cohaudit.analysis.quantiles import Z_80
from cohaudit.report.words import Text, count, points, text
from cohaudit.results import Audit, Driver, Holdout, Risk, Skipped, by_gap

CAUSES = 3
_HELD_OUT = 1000
"""Samples held out, for which is told how narrow the interval becomes."""
CLEANED = (0.2, 0.55)
"""Parts of what memorized samples are of the gap that it fell by, once the suspects were dropped or relabeled
and the network trained again: the smallest and the largest measured (benchmarks/detection/actions.py)."""
_TITLES: Mapping[str, str] = {
    "samples": "Labels that only memory gives",
    "layer": "Single samples learned by layer",
    "class": "Too little in common: class",
    "training": "Fitted to the last label",
}
_WHERE: Mapping[str, str] = {
    "samples": "see the samples",
    "layer": "see the layer",
    "class": "see the class",
    "training": "see what was audited",
}


@dataclass(frozen=True)
class Cause:
    """Something that the gap comes from."""

    title: str
    name: Text
    """Of the layer or class; empty for what has none."""
    part: str
    """How much of the gap it is; empty where that is not known."""
    reason: Text
    link: str
    """Where the page shows it, as '#id'."""


@dataclass(frozen=True)
class Action:
    """Something to do."""

    words: Text
    effect: str
    """What to expect of it."""
    link: str
    """Where the page says more, as '#id'."""
    where: str
    """What is there."""


def build_causes(audit: Audit) -> tuple[Cause, ...]:
    """Return the largest causes of the gap."""
    if isinstance(audit.risk, Skipped):
        return ()
    places = Places(audit)
    return tuple(
        Cause(
            title=_TITLES[driver.kind],
            name=text("" if driver.name == driver.kind else driver.name, 40),
            part=_part(driver, audit.risk),
            reason=text(driver.reason, 400),
            link=places.of(driver),
        )
        for driver in audit.risk.drivers[:CAUSES]
    )


def build_actions(audit: Audit) -> tuple[Action, ...]:
    """Return what to do, that which promises most first, then that of which it is not known."""
    if not audit.sanity.auditable:
        words = "Give the model the weights, labels and preprocessing of its training, and scan again."
        return (Action(text(words, 400), "a verdict", "#skipped", "see what was skipped"),)
    risk = audit.risk
    if isinstance(risk, Skipped):
        return ()
    places = Places(audit)
    classes = [driver for driver in risk.drivers if driver.kind == "class"]
    single = [driver for driver in risk.drivers if driver.kind != "class" or len(classes) == 1]
    promised = [
        *((one.lowers, _action(one, places)) for one in single if not isinstance(one.lowers, Skipped)),
        *(_more_of(classes, risk) if len(classes) > 1 else ()),
        *_other_checkpoint(audit),
    ]
    promised.sort(key=lambda pair: pair[0], reverse=True)
    return (
        *(action for _, action in promised),
        *(_action(one, places) for one in single if isinstance(one.lowers, Skipped)),
        *_hold_out(audit, risk),
    )


def _action(driver: Driver, places: Places) -> Action:
    if isinstance(driver.lowers, Skipped):
        effect = "Not predicted: train again and compare (cohaudit diff)"
    elif driver.kind == "samples":
        low, high = (points(part * driver.lowers) for part in CLEANED)
        effect = f"Lowers the gap by {low} to {high} points, going by networks that were cleaned"
    else:
        effect = f"Lowers the gap by up to {points(driver.lowers)} points"
    return Action(text(driver.remedy, 400), effect, places.of(driver), _WHERE[driver.kind])


def _more_of(classes: Sequence[Driver], risk: Risk) -> Iterator[tuple[float, Action]]:
    """Put several classes into one action: no sample is of two."""
    names = [text(driver.name, 40).short for driver in classes]
    part = sum(driver.lowers for driver in classes if not isinstance(driver.lowers, Skipped))
    most = min(part, risk.gap.value)
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    words = f"Collect more samples of the classes {listed}, and look at their suspects first."
    effect = f"Lowers the gap by up to {points(most)} points"
    yield most, Action(text(words, 400), effect, "#classes", "see the classes")


def _part(driver: Driver, risk: Risk) -> str:
    if isinstance(driver.lowers, Skipped):
        return ""
    return f"{points(driver.lowers)} of {points(risk.gap.value)} points"


def _other_checkpoint(audit: Audit) -> Iterator[tuple[float, Action]]:
    """Tell to take an earlier checkpoint, where one was measured to be better."""
    found = audit.audits.trajectory
    if isinstance(found, Skipped) or found.advised == len(found.points) - 1:
        return
    gain = found.points[found.advised].rating - found.points[-1].rating
    if gain <= 0:
        return
    words = f"Take the checkpoint {found.points[found.advised].checkpoint} in place of the last one."
    effect = f"About {points(gain)} points more on new data"
    yield gain, Action(text(words, 400), effect, "#audit-trajectory", "see the checkpoints")


def _hold_out(audit: Audit, risk: Risk) -> Iterator[Action]:
    """Tell to measure the gap, where that was not done."""
    if isinstance(risk.holdout, Holdout):
        return
    expected = min(max(audit.sanity.accuracy - risk.gap.value, 0.0), 1.0)
    narrow = Z_80 * math.sqrt(expected * (1 - expected) / _HELD_OUT)
    now = (risk.gap.high - risk.gap.low) / 2
    if narrow >= now:
        return
    words = f"Measure the gap on {count(_HELD_OUT)} samples that the model never saw (--holdout)."
    effect = f"The gap is then known to ±{points(narrow)} points, now ±{points(now)}"
    yield Action(text(words, 400), effect, "#method", "see the method")


class Places:
    """Where the page shows a layer or class.

    Args:
        audit: The result of a scan.
    """

    def __init__(self, audit: Audit) -> None:
        self._layers = {layer.name: i for i, layer in enumerate(audit.layers, 1)}
        self._classes = {one.name: i for i, one in enumerate(by_gap(audit.classes), 1)}

    def of(self, driver: Driver) -> str:
        """Return the link to the evidence of a driver."""
        if driver.kind == "class":
            return f"#class-{self._classes[driver.name]}" if driver.name in self._classes else "#classes"
        if driver.kind == "layer":
            return f"#layer-{self._layers[driver.name]}" if driver.name in self._layers else "#depth"
        return "#suspects" if driver.kind == "samples" else "#audited"
