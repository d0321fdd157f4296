"""What to do: actions with their reason, a command to copy, and what they should bring on new data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cohaudit.analysis.quantiles import Z_80
from cohaudit.report.commands import (
    Places,
    compare_command,
    correct_command,
    fixes_command,
    holdout_command,
    review_command,
)
from cohaudit.report.html.view._tables import MAX_TABLE_ROWS
from cohaudit.report.words import Text, count, percent, points, text
from cohaudit.results import Audit, Driver, Holdout, Risk, Skipped, by_gap
from cohaudit.review.verdicts import BAD_LEVELS, label_verdict

SHOWN_ACTIONS = 3
"""Actions shown at first; the others are folded, so that the samples begin within two screens."""
_MAX_COMMAND = 600
"""Characters of a command at most: a longer one is no longer copied, it is written into a script."""
_HOLDOUT_SAMPLES = 1000
"""Holdout samples for which the page says how narrow the interval becomes."""
CLEANED = (0.2, 0.55)
"""Smallest and largest share of the memorized samples' part of the gap that disappeared when benchmark
networks were retrained without their suspects, or with suggested labels (benchmarks/detection/actions.py)."""
_WHERE: Mapping[str, str] = {
    "samples": "see the samples",
    "layer": "see the layer",
    "class": "see the class",
    "training": "see what was audited",
}
"""Kind of a driver → text of the link to its evidence."""


@dataclass(frozen=True)
class Action:
    """Something to do."""

    words: Text
    why: Text
    """What was found; empty where the words say it."""
    command: str
    """Command for a shell, whole; empty for none."""
    effect: str
    """Expected effect."""
    link: str
    """Place on the page that says more, as '#id'."""
    where: str
    """Text of the link."""


@dataclass(frozen=True)
class Actions:
    """The section on what to do."""

    first: tuple[Action, ...]
    """The most important ones."""
    others: tuple[Action, ...]
    """The others, which are folded."""
    fixes: str
    """Command for the labels that the reader corrected on the page; empty where code made the data."""
    compare: str
    """Command that compares with a retrained model; empty where there is nothing to retrain."""


def build_actions(audit: Audit, places: Places) -> Actions:
    """Return what to do: the largest expected effect first, actions of unknown effect last."""
    found = tuple(_actions(audit, places))
    retrains = audit.sanity.auditable and any(one.link != "#method" for one in found)
    return Actions(
        found[:SHOWN_ACTIONS],
        found[SHOWN_ACTIONS:],
        _copied(fixes_command(places, "fixes.csv")),
        _copied(compare_command(places)) if retrains else "",
    )


def _actions(audit: Audit, places: Places) -> Iterator[Action]:
    if not audit.sanity.auditable:
        words = "Use the weights, labels and preprocessing that the model was trained with, and scan again."
        yield Action(
            text(words, 400), text(""), "", "Needed for a verdict", "#skipped", "see what was skipped"
        )
        return
    yield from _label_actions(audit, places)
    risk = audit.risk
    if isinstance(risk, Skipped):
        return
    evidence = EvidenceLinks(audit)
    # One action per class would push actions of other kinds off the first screen.
    classes = [driver for driver in risk.drivers if driver.kind == "class"]
    single = [driver for driver in risk.drivers if driver.kind != "class" or len(classes) == 1]
    correct = "" if audit.suspects.empty else _copied(correct_command(places))
    known = [
        *(
            (one.lowers, _action(one, risk, evidence, correct))
            for one in single
            if not isinstance(one.lowers, Skipped)
        ),
        *(_more_of(classes, risk) if len(classes) > 1 else ()),
        *_other_checkpoint(audit),
    ]
    # by the number alone: actions have no order
    known.sort(key=lambda pair: pair[0], reverse=True)
    yield from (action for _, action in known)
    yield from (_action(one, risk, evidence, correct) for one in single if isinstance(one.lowers, Skipped))
    yield from _measure_gap(audit, risk)


def _label_actions(audit: Audit, places: Places) -> Iterator[Action]:
    """Yield what to do about the labels, where the verdict on them asks for it."""
    verdict = label_verdict(audit)
    # what is unclear stands in the verdict, right above
    why = text("" if verdict.level == "unclear" else verdict.sentence, 400)
    drivers = () if isinstance(audit.risk, Skipped) else audit.risk.drivers
    if verdict.level == "unclear" or (verdict.level in BAD_LEVELS and audit.suspects.empty):
        effect = "Your answers tell how many labels are wrong, and which"
        command = _copied(review_command(places)) if audit.questions else ""
        yield Action(text("Review a few dozen labels."), why, command, effect, "#suspects", "see the samples")
    # the remedy for memorized samples is about the same suspects
    elif verdict.level in BAD_LEVELS and not any(driver.kind == "samples" for driver in drivers):
        words = "Check the suspects, and correct or drop the wrong ones."
        command = _copied(correct_command(places))
        yield Action(text(words, 400), why, command, UNKNOWN, "#suspects", "see the suspects")


UNKNOWN = "Effect on new data unknown: retrain and compare"
"""Effect of an action that nobody has measured."""


def _copied(command: str) -> str:
    """Return a command that shows as it is; empty if a name in it has characters that cannot be shown."""
    return command if text(command, _MAX_COMMAND).short == command else ""


def _action(driver: Driver, risk: Risk, evidence: EvidenceLinks, correct: str) -> Action:
    """Return the remedy for a driver; `correct` is the command for its suspects."""
    is_cleaned = driver.kind == "samples" and correct
    if isinstance(driver.lowers, Skipped):
        effect = UNKNOWN
    elif is_cleaned:
        low, high = (part * driver.lowers for part in CLEANED)
        effect = f"{_on_new_data(risk, low, high)}, by what cleaning brought to benchmark networks"
    else:
        effect = _on_new_data(risk, driver.lowers)
    command = correct if is_cleaned else ""
    words, why = text(driver.remedy, 400), text(driver.reason, 400)
    return Action(words, why, command, effect, evidence.of(driver), _WHERE[driver.kind])


def _on_new_data(risk: Risk, low: float, high: float | None = None) -> str:
    """Write which accuracy to expect on new data after the gap fell by so much, beside that of today."""
    now = risk.expected.value
    reached = [percent(min(now + part, 1.0)) for part in (low, high) if part is not None]
    after = f"up to {reached[0]}" if high is None else f"{reached[0]} to {reached[1]}"
    return f"Expected accuracy on new data: {after} (now {percent(now)})"


def _more_of(classes: Sequence[Driver], risk: Risk) -> Iterator[tuple[float, Action]]:
    """Combine several classes into one action: no sample is in two of them, so their shares add up."""
    names = [text(driver.name, 40).short for driver in classes]
    total = sum(driver.lowers for driver in classes if not isinstance(driver.lowers, Skipped))
    # shares are upper estimates and add up: no action may promise more than the whole gap
    lowers = min(total, risk.gap.value)
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    look = " Look at their suspects first." if any("suspect" in driver.remedy for driver in classes) else ""
    words = f"Collect more samples of the classes {listed}.{look}"
    why = " ".join(driver.reason for driver in classes)
    effect = _on_new_data(risk, lowers)
    yield lowers, Action(text(words, 400), text(why, 400), "", effect, "#classes", "see the classes")


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
    yield gain, Action(text(words, 400), text(""), "", effect, "#audit-trajectory", "see the checkpoints")


def _measure_gap(audit: Audit, risk: Risk) -> Iterator[Action]:
    """Yield the advice to measure the gap, unless it was measured or measuring would not narrow it."""
    if isinstance(risk.holdout, Holdout):
        return
    expected = risk.expected.value
    # Normal approximation of a binomial share: good enough to say whether measuring is worth it.
    narrow = Z_80 * math.sqrt(expected * (1 - expected) / _HOLDOUT_SAMPLES)
    now = (risk.expected.high - risk.expected.low) / 2
    if narrow >= now:
        return
    words = (
        f"Measure the accuracy on {count(_HOLDOUT_SAMPLES)} samples that the model has never seen: the same "
        "scan with a holdout."
    )
    effect = f"Narrows the interval of the expected accuracy to ±{points(narrow)} points (now ±{points(now)})"
    command = _copied(holdout_command(audit))
    yield Action(text(words, 400), text(""), command, effect, "#method", "see the method")


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
