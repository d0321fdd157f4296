"""Which labels the suspects have, and which ones the other samples suggest: a table of a few classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cohaudit.report.words import Text, count, named, plural, text
from cohaudit.results import Audit

MAX_CLASSES = 14
"""Classes with a row and a column of their own at most: as many as fit a page; the others share the last."""
MAX_PAIRS = 8
"""Pairs listed below the table at most."""
_SHORT = 4
"""Characters of a name above a column at most; longer ones are turned."""
_OTHERS = -1
"""Place of all classes without a row of their own."""
_STRONGEST = 0.5
"""Opacity of the largest number: text on it is still easy to read, on a light and on a dark page."""


@dataclass(frozen=True)
class Cell:
    """Suspects with one given and one suggested label."""

    given: int
    """Place of the class in the audit; −1 for those without a row of their own."""
    suggested: int
    """Place of the class in the audit; −1 for those without a column of their own."""
    samples: str
    """Number of suspects; empty for none."""
    opacity: str
    """How strongly to color it, from 0 to 1."""
    words: str
    """What the number counts."""


@dataclass(frozen=True)
class Pair:
    """Two classes that are often confused."""

    cell: Cell
    given: Text
    suggested: Text


@dataclass(frozen=True)
class Confusions:
    """The table of given and suggested labels."""

    heads: tuple[tuple[int, Text], ...]
    """Place in the audit and name of each class with a row; the last may stand for all others."""
    rows: tuple[tuple[Cell, ...], ...]
    """A row for each given label, in the order of the heads."""
    pairs: tuple[Pair, ...]
    """The most frequent pairs of two classes; empty where the table has all classes."""
    note: str
    """Which classes share a row; empty when none do."""
    upright: bool
    """Whether the names above the columns have to be turned to fit."""


def build_confusions(audit: Audit, suspects: Sequence[str]) -> Confusions | None:
    """Count the suspects by their given and their suggested label.

    Args:
        audit: The result of a scan.
        suspects: Ids of the suspects that the page lists.

    Returns:
        The table; None without suspects that another label is suggested for.
    """
    names = [one.name for one in audit.classes]
    place = {name: i for i, name in enumerate(names)}
    rows = audit.samples.set_index("id").loc[list(suspects)]
    pairs = Counter(
        (place[given], place[suggested])
        for given, suggested in zip(rows["label"], rows["suggested"], strict=True)
        if given != suggested
    )
    if not pairs:
        return None
    shown = _most_frequent(pairs, len(names))
    all_shown = len(shown) == len(names)
    counted = Counter[tuple[int, int]]()
    for (given, suggested), samples in pairs.items():
        counted[_own(given, shown), _own(suggested, shown)] += samples
    heads = [(i, text(names[i], 20)) for i in shown]
    if any(_OTHERS in pair for pair in counted):
        heads.append((_OTHERS, Text("others", "")))
    largest = max(counted.values())
    places = [i for i, _ in heads]
    return Confusions(
        heads=tuple(heads),
        rows=tuple(
            tuple(_cell(given, suggested, counted[given, suggested], largest, names) for suggested in places)
            for given in places
        ),
        pairs=() if all_shown else tuple(_frequent_pairs(pairs, largest, names)),
        note=""
        if all_shown
        else f"The {len(shown)} of {plural(len(names), 'class')} that most suspects have or look like.",
        upright=max(len(name.short) for _, name in heads) > _SHORT,
    )


def _most_frequent(pairs: Counter[tuple[int, int]], classes: int) -> list[int]:
    """Return the classes with a row, in their own order."""
    if classes <= MAX_CLASSES:
        return list(range(classes))
    frequency = Counter[int]()
    for pair, samples in pairs.items():
        for one in pair:
            frequency[one] += samples
    # by the place too, so that equal audits give equal pages
    return sorted(sorted(frequency, key=lambda one: (-frequency[one], one))[:MAX_CLASSES])


def _own(place: int, shown: Sequence[int]) -> int:
    return place if place in shown else _OTHERS


def _frequent_pairs(pairs: Counter[tuple[int, int]], largest: int, names: Sequence[str]) -> Iterable[Pair]:
    for given, suggested in sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:MAX_PAIRS]:
        cell = _cell(given, suggested, pairs[given, suggested], largest, names)
        yield Pair(cell, text(names[given], 28), text(names[suggested], 28))


def _cell(given: int, suggested: int, samples: int, largest: int, names: Sequence[str]) -> Cell:
    one, other = ("other classes" if i == _OTHERS else named(names[i]) for i in (given, suggested))
    return Cell(
        given=given,
        suggested=suggested,
        samples=count(samples) if samples else "",
        opacity=f"{_STRONGEST * samples / largest:.2f}",
        words=f"labeled {one}, looks like {other}",
    )
