"""What the page of a difference shows, as data: every number already in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

MOST_SUSPECTS = 300
"""Rows of each list of suspects; the JSON has all."""

_HEADLINES = {
    "worse": ("Worse than the base", "severe"),
    "better": ("Better than the base", "low"),
    "fewer suspects": ("Fewer suspects", "low"),
    "no clear change": ("No clear change", ""),
    "nothing to compare": ("Nothing to compare", ""),
}
"""Headline → in words, and the class that colors it."""
_OUTCOMES = {
    "higher": "higher",
    "lower": "lower",
    "alike": "not clear",
    "unknown": "not measured in both",
}


@dataclass(frozen=True)
class Row:
    """One measurement in both audits."""

    name: Text
    base: str
    base_interval: str
    head: str
    head_interval: str
    change: str
    """In words."""
    clear: bool
    """Whether to mark it."""


@dataclass(frozen=True)
class ClassRow:
    """One class in both audits."""

    name: Text
    suspects: tuple[str, str]
    gap: Row
    coherence: Row


@dataclass(frozen=True)
class SuspectRow:
    """One suspect of one audit alone."""

    id: Text
    label: Text
    suggested: Text
    suspicion: str
    elsewhere: str


@dataclass(frozen=True)
class SuspectList:
    """The suspects of one audit alone."""

    title: str
    other: str
    """Heading of what they are in the other audit."""
    rows: tuple[SuspectRow, ...]
    more: str
    """How many are left out, in words; empty when none is."""


@dataclass(frozen=True)
class WidthRow:
    """One hidden layer's use of its units in both networks."""

    name: Text
    kept: tuple[str, str]
    participation: tuple[str, str]


@dataclass(frozen=True)
class WidthTable:
    """What two networks use of their units."""

    facts: tuple[tuple[str, str, str], ...]
    """What, in the base, in the head."""
    rows: tuple[WidthRow, ...]


@dataclass(frozen=True)
class DiffPage:
    """The page, section by section."""

    base: Text
    head: Text
    headline: str
    level: str
    """Class that colors the headline."""
    unlike: tuple[str, ...]
    regressions: tuple[str, ...]
    whole: tuple[Row, ...]
    suspects: str
    """In one sentence."""
    lists: tuple[SuspectList, ...]
    layers: tuple[Row, ...]
    classes: tuple[ClassRow, ...]
    width: WidthTable | None
    facts: tuple[tuple[str, Text, Text], ...]
    """What, of the base, of the head."""


def build_diff_page(difference: Difference) -> DiffPage:
    """Put a difference into words.

    Args:
        difference: Of two audits.

    Returns:
        Everything that the template shows.
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
        whole=tuple(_whole(difference)),
        suspects=_told(difference.suspects),
        lists=tuple(_lists(difference.suspects)) if difference.suspects else (),
        layers=tuple(map(_layer, difference.layers)),
        classes=tuple(map(_class, difference.classes)),
        width=_width(difference.width) if difference.width else None,
        facts=tuple(_facts(base, head)),
    )


def _whole(difference: Difference) -> list[Row]:
    base = difference.base
    head = difference.head
    level = "risen" if difference.level_risen else ""
    return [
        _plain("Risk", base.level or "no verdict", head.level or "no verdict", level),
        _row("Gap, points", difference.gap, "", in_points=True),
        _plain("Training accuracy", percent(base.accuracy), percent(head.accuracy)),
        _plain("Suspects", _count(base.suspects), _count(head.suspects)),
        _plain("Samples", count(base.samples), count(head.samples)),
        _plain("Parameters", count(base.parameters), count(head.parameters)),
    ]


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


def _told(found: SuspectChanges | None) -> str:
    if found is None:
        return "Not compared: an audit judged no samples."
    new, done, still = (count(len(part)) for part in (found.new, found.fixed, found.still))
    told = f"{new} new, {done} fixed, {still} still there."
    if found.unhashed:
        told += f" {plural(found.unhashed, 'suspect')} without a hash could be matched by id alone."
    return told


def _lists(found: SuspectChanges) -> list[SuspectList]:
    return [_list("New", "In the base", found.new), _list("Fixed", "In the head", found.fixed)]


def _list(title: str, other: str, suspects: Sequence[ComparedSuspect]) -> SuspectList:
    rest = len(suspects) - MOST_SUSPECTS
    more = f"And {plural(rest, 'suspect')} more: cohaudit diff --json lists all." if rest > 0 else ""
    return SuspectList(title, other, tuple(map(_suspect, suspects[:MOST_SUSPECTS])), more)


def _suspect(one: ComparedSuspect) -> SuspectRow:
    return SuspectRow(
        text(one.id, 40), text(one.label, 30), text(one.suggested, 30), fixed(one.suspicion), one.elsewhere
    )


def _layer(one: LayerChange) -> Row:
    return _row(one.name, one.coherence, one.only_in)


def _class(one: ClassChange) -> ClassRow:
    return ClassRow(
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
        ("Holding 90% of the coherent energy", count(base.kept), count(head.kept)),
        ("Participation", fixed(base.participation), fixed(head.participation)),
        ("Accuracy of all", percent(base.accuracy), percent(head.accuracy)),
        ("Accuracy of these alone", _share(base.alone), _share(head.alone)),
        ("Accuracy of as many at random", _share(base.random), _share(head.random)),
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
        ("Fingerprint", "data_fingerprint"),
        ("cohaudit", "version"),
    )
    both = {key: [text(getattr(side, key) or "–", 80) for side in (base, head)] for _, key in keys}
    return [(name, both[key][0], both[key][1]) for name, key in keys]


def _count(many: int | None) -> str:
    return "–" if many is None else count(many)


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)
