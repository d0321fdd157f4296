"""What the diff page shows, as data: every number is already in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cohaudit.report.words import Text, count, fixed, interval, number, percent, plural, points, prose, text
from cohaudit.results import Estimate
from cohaudit.review.diff.difference import (
    ClassChange,
    ComparedAudit,
    Difference,
    EstimateChange,
    LayerChange,
)
from cohaudit.review.diff.suspects import ComparedSuspect, SuspectChanges
from cohaudit.review.diff.width import LayerWidths, UsedLayer, WidthChange

MAX_SUSPECT_ROWS = 300
"""Rows of each list of suspects at most; the JSON has all."""

_HEADLINES = {
    "worse": ("Worse than the base", "severe"),
    "better": ("Better than the base", "low"),
    "fewer suspects": ("Fewer suspects", "low"),
    "no clear change": ("No clear change", ""),
    "nothing to compare": ("Nothing to compare", ""),
}
"""Headline → its words, and the CSS class that colors it."""
_OUTCOMES = {
    "higher": "higher",
    "lower": "lower",
    "alike": "not clear",
    "unknown": "not measured in both",
}
"""Outcome of a change → its words."""


@dataclass(frozen=True)
class Row:
    """One measurement in both audits."""

    name: Text
    base: str
    base_interval: str
    head: str
    head_interval: str
    change: str
    """The change in words."""
    clear: bool
    """Whether the change is clear, and is to be marked."""


@dataclass(frozen=True)
class ClassDiffRow:
    """One class in both audits."""

    name: Text
    suspects: tuple[str, str]
    gap: Row
    coherence: Row


@dataclass(frozen=True)
class SuspectRow:
    """A suspect that only one audit has."""

    id: Text
    label: Text
    suggested: Text
    suspicion: str
    elsewhere: str
    """Its state in the other audit."""


@dataclass(frozen=True)
class SuspectList:
    """The suspects that only one audit has."""

    title: str
    other: str
    """Heading of the column with their state in the other audit."""
    rows: tuple[SuspectRow, ...]
    more: str
    """Sentence on those left out; empty when none is."""


@dataclass(frozen=True)
class WidthRow:
    """How many units of one hidden layer are used, in both networks."""

    name: Text
    kept: tuple[str, str]
    participation: tuple[str, str]


@dataclass(frozen=True)
class WidthTable:
    """How many units two networks use."""

    facts: tuple[tuple[str, str, str], ...]
    """Measure, value in the base, value in the head."""
    rows: tuple[WidthRow, ...]


@dataclass(frozen=True)
class DiffPage:
    """The page, section by section."""

    base: Text
    head: Text
    headline: str
    level: str
    """CSS class that colors the headline."""
    unlike: tuple[str, ...]
    regressions: tuple[str, ...]
    improvements: tuple[str, ...]
    ranking: str
    """Which network is probably better on new data; empty unless both fit the same data."""
    whole: tuple[Row, ...]
    suspects: str
    """Counts of new, fixed and remaining suspects, in words."""
    lists: tuple[SuspectList, ...]
    layers: tuple[Row, ...]
    classes: tuple[ClassDiffRow, ...]
    width: WidthTable | None
    facts: tuple[tuple[str, Text, Text], ...]
    """Property, value of the base, value of the head."""


def build_diff_page(difference: Difference) -> DiffPage:
    """Return everything that the template shows of a difference.

    Args:
        difference: Difference of two audits.

    Returns:
        The page as data.
    """
    headline, level = _HEADLINES[difference.headline]
    base = difference.base
    head = difference.head
    return DiffPage(
        base=text(base.checkpoint),
        head=text(head.checkpoint),
        headline=headline,
        level=level,
        unlike=tuple(map(prose, difference.unlike)),
        regressions=tuple(map(prose, difference.regressions)),
        improvements=tuple(map(prose, difference.improvements)),
        ranking=prose(difference.ranking.reason) if difference.ranking else "",
        whole=tuple(_whole(difference)),
        suspects=_suspect_counts(difference.suspects),
        lists=tuple(_lists(difference.suspects)) if difference.suspects else (),
        layers=tuple(map(_layer, difference.layers)),
        classes=tuple(map(_class, difference.classes)),
        width=_width(difference.width) if difference.width else None,
        facts=tuple(_facts(base, head)),
    )


def _whole(difference: Difference) -> list[Row]:
    base = difference.base
    head = difference.head
    return [
        _shares("Score on new data", difference.score),
        _shares("Wrong labels", difference.wrong_labels),
        # shown, and not judged: better labels raise the training accuracy, and so the gap
        replace(_row("Gap in points", difference.gap, "", in_points=True), change="", clear=False),
        _plain("Risk of overfitting", base.level or "no verdict", head.level or "no verdict"),
        _plain("Training accuracy", percent(base.accuracy), percent(head.accuracy)),
        _plain("Suspects", _count(base.suspects), _count(head.suspects)),
        _plain("Samples", count(base.samples), count(head.samples)),
        _plain("Parameters", count(base.parameters), count(head.parameters)),
    ]


def _shares(name: str, change: EstimateChange) -> Row:
    sides = [
        ("–", "") if one is None else (percent(one.value), f"{percent(one.low)} to {percent(one.high)}")
        for one in (change.base, change.head)
    ]
    clear = change.outcome in {"higher", "lower"}
    return Row(text(name), *sides[0], *sides[1], _OUTCOMES[change.outcome], clear)


def _plain(name: str, base: str, head: str, change: str = "") -> Row:
    return Row(text(name), base, "", head, "", change, bool(change))


def _row(name: str, change: EstimateChange, only_in: str, in_points: bool = False) -> Row:
    (base, base_interval), (head, head_interval) = (_shown(e, in_points) for e in (change.base, change.head))
    outcome = f"only in the {only_in}" if only_in else _OUTCOMES[change.outcome]
    clear = change.outcome in {"higher", "lower"}
    return Row(text(name, 40), base, base_interval, head, head_interval, outcome, clear)


def _shown(found: Estimate | None, in_points: bool) -> tuple[str, str]:
    if found is None:
        return "–", ""
    if in_points:
        return points(found.value), f"{points(found.low)} to {points(found.high)}"
    return number(found.value), interval(found)


def _suspect_counts(found: SuspectChanges | None) -> str:
    if found is None:
        return "Not compared: one of the audits judged no samples."
    new, fixed, remaining = (count(len(part)) for part in (found.new, found.fixed, found.still))
    counts = f"{new} new, {fixed} fixed, {remaining} remaining."
    if found.unhashed:
        counts += f" {plural(found.unhashed, 'suspect')} without a hash could only be matched by id."
    return counts


def _lists(found: SuspectChanges) -> list[SuspectList]:
    return [_list("New", "In the base", found.new), _list("Fixed", "In the head", found.fixed)]


def _list(title: str, other: str, suspects: Sequence[ComparedSuspect]) -> SuspectList:
    rest = len(suspects) - MAX_SUSPECT_ROWS
    more = f"{plural(rest, 'more suspect')}: cohaudit diff --json lists all." if rest > 0 else ""
    return SuspectList(title, other, tuple(map(_suspect, suspects[:MAX_SUSPECT_ROWS])), more)


def _suspect(one: ComparedSuspect) -> SuspectRow:
    return SuspectRow(
        text(one.id, 40), text(one.label, 30), text(one.suggested, 30), fixed(one.suspicion), one.elsewhere
    )


def _layer(one: LayerChange) -> Row:
    return _row(one.name, one.coherence, one.only_in)


def _class(one: ClassChange) -> ClassDiffRow:
    return ClassDiffRow(
        name=text(one.name, 40),
        suspects=(_count(one.base_suspects), _count(one.head_suspects)),
        gap=_row(one.name, one.gap, one.only_in, in_points=True),
        coherence=_row(one.name, one.coherence, one.only_in),
    )


def _width(width: WidthChange) -> WidthTable:
    base = width.base
    head = width.head
    facts = (
        ("Hidden units", count(base.units), count(head.units)),
        ("Units holding 90% of the coherent energy", count(base.kept), count(head.kept)),
        ("Participation", fixed(base.participation), fixed(head.participation)),
        ("Accuracy with all units", percent(base.accuracy), percent(head.accuracy)),
        ("Accuracy with these units only", _share(base.alone), _share(head.alone)),
        ("Accuracy with as many random units", _share(base.random), _share(head.random)),
    )
    return WidthTable(facts, tuple(map(_width_row, width.layers)))


def _width_row(one: LayerWidths) -> WidthRow:
    sides = one.base, one.head
    base, head = (_kept(side) for side in sides)
    shares = tuple("–" if side is None else fixed(side.participation) for side in sides)
    return WidthRow(text(one.name, 40), (base, head), (shares[0], shares[1]))


def _kept(one: UsedLayer | None) -> str:
    return "–" if one is None else f"{count(one.kept)} of {count(one.units)}"


def _facts(base: ComparedAudit, head: ComparedAudit) -> list[tuple[str, Text, Text]]:
    keys = (
        ("Checkpoint", "checkpoint"),
        ("SHA-256", "checkpoint_sha256"),
        ("Model", "model"),
        ("Data", "data"),
        ("Data fingerprint", "data_fingerprint"),
        ("cohaudit", "version"),
    )
    # a model in memory has no hash
    both = {key: [text(getattr(side, key) or "–", 80) for side in (base, head)] for _, key in keys}
    return [(name, both[key][0], both[key][1]) for name, key in keys]


def _count(many: int | None) -> str:
    return "–" if many is None else count(many)


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)
