"""The figure of the classes: the gap that their table is sorted by, with the interval that all share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import FIGURE_WIDTH, MAX_AXIS_NAME, PERCENT, segments, widest
from cohaudit.report.figures.svg import BLUE, INK, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import named, number, percent, plural, points, text
from cohaudit.results import ClassResult, Coherence, Estimate

_ROW = 24
"""Height of a class, in pixels: holds a name in the page's font size."""
_INTERVAL_ROW = -1.5
"""Place of the interval that all classes share, in rows: above the first class, which is at 0."""
_DOT = 7
"""Diameter of a dot, in pixels."""


def class_dots(classes: Sequence[ClassResult], *, suspects: bool) -> Markup:
    """Draw predicted gap, share of suspects and coherence of each class, as far as they were measured.

    Args:
        classes: Classes to draw, in the order of the table.
        suspects: Whether samples were judged, so that there are suspects to count.
    """
    gaps = [one.predicted_gap for one in classes]
    known = [gap for gap in gaps if isinstance(gap, Estimate)]
    shares = [one.suspects / max(one.samples, 1) for one in classes]
    above = 30 + (2 * _ROW if known else 0)
    height = above + 32 + _ROW * len(classes)

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        widths = [*([5] if known else []), *([3] if suspects else []), 5]
        # a grid of its own, because one panel alone would come without its list
        panels = list(figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0])
        left = (16 + widest(c.name for c in classes)) / FIGURE_WIDTH
        figure.subplots_adjust(left=left, right=0.97, top=1 - 30 / height, bottom=30 / height, wspace=0.12)
        for axes in panels:
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_yticks(
            range(len(classes)), [names.reserve(text(c.name, MAX_AXIS_NAME)) for c in classes]
        )
        # downward, so that the first class is at the top
        panels[0].set_ylim(len(classes) - 0.4, -2.4 if known else -0.6)
        if known:
            _draw_gaps(panels[0], gaps, known)
        if suspects:
            _draw_shares(panels[len(panels) - 2], shares)
        _draw_coherence(panels[-1], classes)

    title = "Classes: " + ", ".join(
        [*(["predicted gap"] if known else []), *(["share of suspects"] if suspects else []), "coherence"]
    )
    description = _describe(classes, shares if suspects else [])
    return draw_svg("classes", (FIGURE_WIDTH, height), title, description, draw)


def shared_half_width(gaps: Sequence[Estimate]) -> float:
    """Return the half width of the interval that all classes share, from the ends that no bound has cut."""
    return max(max(gap.high - gap.value, gap.value - gap.low) for gap in gaps)


def _draw_gaps(axes: Axes, gaps: Sequence[object], known: Sequence[Estimate]) -> None:
    axes.set_title("Predicted gap in points")
    rows = [row for row, gap in enumerate(gaps) if isinstance(gap, Estimate)]
    values = [100 * gap.value for gap in known]
    half = 100 * shared_half_width(known)
    middle = float(np.mean(values))
    # drawn once: the same bar on every row would hide the order that the rows are in
    segments(axes, ([middle - half], [_INTERVAL_ROW]), ([middle + half], [_INTERVAL_ROW]), color=INK, lw=2)
    ends = [middle - half, middle + half]
    axes.plot(ends, [_INTERVAL_ROW] * 2, color=INK, marker="|", ms=9, mew=2, lw=0)
    axes.text(
        middle,
        _INTERVAL_ROW + 0.75,
        f"interval of each: \u00b1 {points(half / 100)}",
        color=MUTED,
        ha="center",
        va="center",
        size=11,
    )
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.plot(values, rows, color=BLUE, marker="o", ms=_DOT, lw=0)
    _skip_rows(axes, len(gaps), rows)


def _draw_shares(axes: Axes, shares: Sequence[float]) -> None:
    axes.set_title("Suspects")
    rows = np.arange(len(shares))
    segments(axes, (np.zeros(len(shares)), rows), (np.array(shares), rows), color=ORANGE, lw=1.2)
    axes.plot(shares, rows, color=ORANGE, marker="o", ms=_DOT, lw=0, clip_on=False)
    axes.xaxis.set_major_formatter(PERCENT)
    # at least 1%: without any suspect, the axis would have no length
    axes.set_xlim(0, 1.08 * max(0.01, *shares))


def _draw_coherence(axes: Axes, classes: Sequence[ClassResult]) -> None:
    axes.set_title("Pairwise coherence α\u1d64")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    found = [
        (row, one.coherence.pairwise)
        for row, one in enumerate(classes)
        if isinstance(one.coherence, Coherence)
    ]
    if found:
        rows, measured = zip(*found, strict=True)
        spans = ([one.low for one in measured], rows), ([one.high for one in measured], rows)
        segments(axes, *spans, color=MUTED, lw=1.4)
        axes.plot([one.value for one in measured], rows, color=BLUE, marker="o", ms=_DOT, lw=0)
    _skip_rows(axes, len(classes), [row for row, _ in found])


def _skip_rows(axes: Axes, count: int, drawn: Sequence[int]) -> None:
    """Say of the rows without a dot that nothing was measured."""
    for row in sorted({*range(count)} - {*drawn}):
        axes.text(0, row, "  not measured", color=MUTED, va="center", size=11)


def _describe(classes: Sequence[ClassResult], shares: Sequence[float]) -> str:
    """Describe the figure for readers who do not see it."""
    sentences = [f"{plural(len(classes), 'class')}."]
    gaps = [(one.predicted_gap, one.name) for one in classes if isinstance(one.predicted_gap, Estimate)]
    if gaps:
        worst, name = max(gaps, key=lambda pair: pair[0].value)
        sentences.append(
            f"{named(name)} has the largest predicted gap, {points(worst.value)} points. The interval of "
            f"each is \u00b1 {points(shared_half_width([gap for gap, _ in gaps]))} points."
        )
    measured = [(c.coherence.pairwise.value, c.name) for c in classes if isinstance(c.coherence, Coherence)]
    if len(measured) > 1:
        low, high = (
            f"{named(name)} (α\u1d64 {number(value)})" for value, name in (min(measured), max(measured))
        )
        sentences.append(f"Samples agree most in {high} and least in {low}.")
    if shares and max(shares) > 0:
        most = classes[int(np.argmax(shares))]
        sentences.append(f"{named(most.name)} has the largest share of suspects, {percent(max(shares))}.")
    elif shares:
        sentences.append("No class has suspects.")
    return " ".join(sentences)
