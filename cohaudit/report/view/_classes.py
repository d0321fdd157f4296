"""The classes: how coherent each is, and which ones pull the weights apart."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from cohaudit.report._words import Text, count, interval, number, percent, points, prose, signed, text
from cohaudit.report.figures import class_bars, cosine_map
from cohaudit.report.view._settings import judged
from cohaudit.results import Audit, ClassCosines, ClassResult, Coherence, Estimate, Skipped, by_gap

_DRAWN = 40
"""Most classes in the bar chart; the table has all."""
_PAIRS = 5
"""Most opposed pairs that are listed."""


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
    """The section."""

    judged: bool
    """Whether there are suspects to count."""
    bars: Markup
    bars_note: str
    """Which classes the bars leave out; empty when none."""
    rows: tuple[ClassRow, ...]
    heat_map: Markup | None
    heat_map_note: str
    """How exact the map is, or why there is none."""
    pairs: tuple[Pair, ...]
    """Smallest cosine first."""


def build_classes(audit: Audit) -> Classes:
    """Put the classes into words."""
    drawn = _least_coherent(audit.classes)
    left_out = len(audit.classes) - len(drawn)
    cosines = audit.class_cosines
    measured = cosines if isinstance(cosines, ClassCosines) and len(audit.classes) > 1 else None
    return Classes(
        judged=judged(audit),
        bars=class_bars(drawn, suspects=judged(audit)),
        bars_note=f"The {_DRAWN} least coherent classes; the table has {left_out} more." if left_out else "",
        rows=tuple(_row(result) for result in by_gap(audit.classes)),
        heat_map=cosine_map([c.name for c in audit.classes], measured.matrix) if measured else None,
        heat_map_note=_note(cosines),
        pairs=_pairs(audit.classes, measured) if measured else (),
    )


def _least_coherent(classes: tuple[ClassResult, ...]) -> tuple[ClassResult, ...]:
    if len(classes) <= _DRAWN:
        return classes

    def coherence(index: int) -> float:
        measured = classes[index].coherence
        return measured.pairwise.value if isinstance(measured, Coherence) else float("-inf")

    chosen = sorted(range(len(classes)), key=coherence)[:_DRAWN]
    return tuple(classes[i] for i in sorted(chosen))


def _row(result: ClassResult) -> ClassRow:
    measured = result.coherence if isinstance(result.coherence, Coherence) else None
    gap = result.predicted_gap if isinstance(result.predicted_gap, Estimate) else None
    return ClassRow(
        name=text(result.name, 40),
        samples=count(result.samples),
        accuracy=percent(result.accuracy),
        mean_loss=number(result.mean_loss),
        gap=points(gap.value) if gap else "",
        gap_interval=f"{points(gap.low)} to {points(gap.high)}" if gap else "",
        suspects=count(result.suspects),
        suspect_share=percent(result.suspects / max(result.samples, 1)),
        coherence=number(measured.pairwise.value) if measured else "",
        interval=interval(measured.pairwise) if measured else "",
        m_coherence=number(measured.m_coherence.value) if measured else "",
        skipped="" if isinstance(result.coherence, Coherence) else prose(result.coherence.reason),
    )


def _note(cosines: ClassCosines | Skipped) -> str:
    if isinstance(cosines, Skipped):
        return prose(f"Not measured: {cosines.reason}")
    if cosines.error == 0:
        return "Computed from the whole gradients: no sampling error."
    return f"Computed from sketches: the standard error of a cosine is {number(cosines.error)}."


def _pairs(classes: tuple[ClassResult, ...], cosines: ClassCosines) -> tuple[Pair, ...]:
    upper = [(cosines.matrix[i][j], i, j) for i in range(len(classes)) for j in range(i + 1, len(classes))]
    return tuple(
        Pair(text(classes[i].name, 32), text(classes[j].name, 32), signed(cosine), cosine < 0)
        for cosine, i, j in sorted(upper)[:_PAIRS]
    )
