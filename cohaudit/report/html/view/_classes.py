"""The classes: how coherent each is, and which ones pull the weights apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from cohaudit.report.figures.class_dots import class_dots
from cohaudit.report.figures.class_map import ClassMap, Cosines, cosine_map, extreme_pairs, group_classes
from cohaudit.report.html.view._judged import judges_samples, lists_suspects
from cohaudit.report.html.view._tables import MAX_TABLE_ROWS
from cohaudit.report.words import Text, count, interval, number, percent, plural, points, prose, signed, text
from cohaudit.results import Audit, ClassCosines, ClassResult, Coherence, Estimate, Skipped, by_gap

_MAX_DOTS = 40
"""Classes in the chart at most; the table has more."""
_MAX_PAIRS = 5
"""Pairs listed at most, of those with the lowest and of those with the highest cosines."""


@dataclass(frozen=True)
class ClassRow:
    """One class in the table."""

    name: Text
    samples: str
    accuracy: str
    mean_loss: str
    gap: str
    gap_interval: str
    suspects: str
    suspect_share: str
    coherence: str
    interval: str
    m_coherence: str
    skipped: str
    """Why its coherence is missing; empty when it is not."""


@dataclass(frozen=True)
class Pair:
    """Two classes and the cosine of their mean gradients."""

    one: Text
    other: Text
    cosine: str
    opposed: bool


@dataclass(frozen=True)
class Classes:
    """The section on the classes."""

    judged: bool
    """Whether suspects are counted: none are where it cannot be told which labels are wrong."""
    dots: Markup
    dots_note: str
    """Which classes the chart shows; empty when all."""
    rows: tuple[ClassRow, ...]
    rows_note: str
    """Which rows are left out; empty when none is."""
    heat_map: Markup | None
    heat_map_note: str
    """How exact the map is, or why there is none."""
    pairs: tuple[tuple[str, tuple[Pair, ...]], ...]
    """Heading and pairs: the lowest cosines, lowest first, then the highest."""
    groups: tuple[tuple[Text, ...], ...]
    """Names of the classes in each row of the map; empty where each class has its own row."""


def build_classes(audit: Audit) -> Classes:
    """Return the section on the classes."""
    names = [one.name for one in audit.classes]
    found = audit.class_cosines
    cosines = np.array(found.matrix) if isinstance(found, ClassCosines) and len(names) > 1 else None
    shown = None if cosines is None else group_classes(cosines)
    rows = by_gap(audit.classes)
    drawn = rows[:_MAX_DOTS]
    beyond = len(rows) - MAX_TABLE_ROWS
    return Classes(
        judged=judges_samples(audit) and lists_suspects(audit),
        # without any, the panel would be empty
        dots=class_dots(drawn, suspects=any(one.suspects for one in rows)),
        dots_note=f"The chart shows the first {_MAX_DOTS} of {count(len(names))} classes."
        if len(rows) > len(drawn)
        else "",
        rows=tuple(_row(result) for result in rows[:MAX_TABLE_ROWS]),
        rows_note=f"audit.json has {plural(beyond, 'more class')}." if beyond > 0 else "",
        heat_map=None if cosines is None or shown is None else cosine_map(names, cosines, shown),
        heat_map_note=" ".join(filter(None, (_grouped(shown), _note(found)))),
        pairs=() if cosines is None or isinstance(found, Skipped) else _pairs(names, cosines, found),
        groups=_groups(names, shown),
    )


def _grouped(shown: ClassMap | None) -> str:
    if shown is None or max(map(len, shown.groups)) == 1:
        return ""
    return (
        f"Classes with similar gradients form {len(shown.groups)} groups, each named after its most central "
        "class. A cell is the mean cosine between two groups; audit.json has every cosine."
    )


def _groups(names: list[str], shown: ClassMap | None) -> tuple[tuple[Text, ...], ...]:
    if shown is None or max(map(len, shown.groups)) == 1:
        return ()
    return tuple(tuple(text(names[i], 24) for i in group) for group in shown.groups)


def _row(result: ClassResult) -> ClassRow:
    measured = result.coherence if isinstance(result.coherence, Coherence) else None
    gap = result.predicted_gap if isinstance(result.predicted_gap, Estimate) else None
    return ClassRow(
        name=text(result.name, 40),
        samples=count(result.samples),
        accuracy="–" if result.accuracy is None else percent(result.accuracy),
        mean_loss="–" if result.mean_loss is None else number(result.mean_loss),
        gap=points(gap.value) if gap else "",
        gap_interval=f"{points(gap.low)} to {points(gap.high)}" if gap else "",
        suspects=count(result.suspects),
        suspect_share=percent(result.suspects / result.samples) if result.samples else "–",
        coherence=number(measured.pairwise.value) if measured else "",
        interval=interval(measured.pairwise) if measured else "",
        m_coherence=number(measured.m_coherence.value) if measured else "",
        skipped="" if isinstance(result.coherence, Coherence) else prose(result.coherence.reason),
    )


def _note(cosines: ClassCosines | Skipped) -> str:
    if isinstance(cosines, Skipped):
        return prose(f"Not measured: {cosines.reason}")
    how = (
        "Exact for these samples."
        if cosines.error == 0
        else f"Computed from sketches, with a standard error of {number(cosines.error)}."
    )
    errors = np.array(cosines.sampling)[~np.eye(len(cosines.sampling), dtype=bool)]
    if not errors.size:
        return how
    return (
        f"{how} For other samples of the same kind, cosines are off by {number(float(np.median(errors)))} "
        f"(median), and by up to {number(float(errors.max()))}: a class of few samples seems less like the "
        "others than it is."
    )


def _pairs(
    names: list[str], cosines: Cosines, found: ClassCosines
) -> tuple[tuple[str, tuple[Pair, ...]], ...]:
    def pair(i: int, j: int) -> Pair:
        cosine = float(cosines[i, j])
        return Pair(
            text(names[i], 32),
            text(names[j], 32),
            f"{signed(cosine)} ± {number(found.sampling[i][j])}",
            cosine < 0,
        )

    chosen = zip(("Lowest cosines", "Highest cosines"), extreme_pairs(cosines, _MAX_PAIRS), strict=True)
    # of few pairs, all are among the lowest, and none is left for the highest
    return tuple((title, tuple(pair(i, j) for i, j in pairs)) for title, pairs in chosen if pairs)
