"""What is wrong and what to do next: the largest causes, linked to what shows them, and actions by effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cohaudit.report._words import Text, count, points, text
from cohaudit.results import Audit, Driver, Holdout, Risk, Skipped, by_gap
from cohaudit.theory import Trajectory

CAUSES = 3
_HELD_OUT = 1000
"""Samples held out, for which is told how narrow the interval becomes."""
_NORMAL_80 = 1.2816
"""Half-width of an 80 % interval of a normal distribution, in standard deviations."""
_TITLES: Mapping[str, str] = {
    "samples": "Labels that only memory gives",
    "layer": "Single samples learned by layer",
    "class": "Too little in common: class",
    "training": "Fitted to the last label",
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
    """Return what to do, that which promises most first."""
    if not audit.sanity.auditable:
        words = "Give the model the weights, labels and preprocessing of its training, and scan again."
        return (Action(text(words, 400), "a verdict", "#skipped"),)
    risk = audit.risk
    if isinstance(risk, Skipped):
        return ()
    places = Places(audit)
    known = [driver for driver in risk.drivers if not isinstance(driver.lowers, Skipped)]
    unknown = [driver for driver in risk.drivers if isinstance(driver.lowers, Skipped)]
    return (
        *(_action(driver, places) for driver in known),
        *_other_checkpoint(audit),
        *(_action(driver, places) for driver in unknown),
        *_hold_out(audit, risk),
    )


def _action(driver: Driver, places: Places) -> Action:
    effect = "not predicted: train again and compare (cohaudit diff)"
    if not isinstance(driver.lowers, Skipped):
        effect = f"lowers the gap by up to {points(driver.lowers)} points"
    return Action(text(driver.remedy, 400), effect, places.of(driver))


def _part(driver: Driver, risk: Risk) -> str:
    if isinstance(driver.lowers, Skipped):
        return ""
    return f"{points(driver.lowers)} of {points(risk.gap.value)} points"


def _other_checkpoint(audit: Audit) -> Iterator[Action]:
    """Tell to take an earlier checkpoint, where one was measured to be better."""
    found = audit.theory.trajectory
    if isinstance(found, Skipped) or found.advised == len(found.points) - 1:
        return
    gain = _gain(found)
    words = f"Take the checkpoint {found.points[found.advised].checkpoint} in place of the last one."
    yield Action(text(words, 400), f"about {points(gain)} points more on new data", "#theory-trajectory")


def _gain(found: Trajectory) -> float:
    return found.points[found.advised].rating - found.points[-1].rating


def _hold_out(audit: Audit, risk: Risk) -> Iterator[Action]:
    """Tell to measure the gap, where that was not done."""
    if isinstance(risk.holdout, Holdout):
        return
    expected = min(max(audit.sanity.accuracy - risk.gap.value, 0.0), 1.0)
    narrow = _NORMAL_80 * math.sqrt(expected * (1 - expected) / _HELD_OUT)
    now = (risk.gap.high - risk.gap.low) / 2
    if narrow >= now:
        return
    words = f"Measure the gap on {count(_HELD_OUT)} samples that the model never saw (--holdout)."
    yield Action(text(words, 400), f"known to ±{points(narrow)} points, now ±{points(now)}", "#method")


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
