"""What several figures draw: names of layers, values with intervals, bars, legends beside the curves.

Many marks are drawn as one path, because a thousand marks as elements of their own would make the page large.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cohaudit.report.figures.svg import INK, NamePlaceholders
from cohaudit.report.words import compact, text

FIGURE_WIDTH = 820
"""Natural width of a figure, in CSS pixels: that of the page's text column."""
MAX_AXIS_NAME = 15
"""Characters of a name beside an axis at most."""
MAX_NAMED_LAYERS = 12
"""Layers named on the axis at most; more are numbered as in the table."""
MAX_MARKS = 40
"""Values with a mark of their own at most; more are drawn as dashes of one path."""
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g}%")
"""Writes a share beside an axis."""
_CHARACTER_WIDTH = 6.6
"""Width of a character beside an axis, in pixels."""
_LABEL_ROOM = 0.16
"""Height left free above and below a plot for the names of its extremes, relative to the plot."""


def widest(names: Iterable[str]) -> float:
    """Return the width of the widest name beside an axis, in pixels; East Asian characters count twice."""
    shown = (text(name, MAX_AXIS_NAME).short for name in names)
    return _CHARACTER_WIDTH * max(
        (sum(1 + (east_asian_width(c) in "WF") for c in name) for name in shown), default=0
    )


def name_layers(axes: Axes, names: NamePlaceholders, layers: Sequence[str]) -> None:
    """Name the layers at places 1, 2, … of the horizontal axis, or number them if there are many."""
    # Half a place of margin on either side, so that marks at the ends are not cut.
    axes.set_xlim(0.4, len(layers) + 0.6)
    if len(layers) <= MAX_NAMED_LAYERS:
        shown = [names.reserve(text(name, MAX_AXIS_NAME)) for name in layers]
        # anchor: aligned before it is turned, a name ends below its tick
        axes.set_xticks(range(1, len(layers) + 1), shown, rotation=30, ha="right", rotation_mode="anchor")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("layer, from input to output, by its number in the table")


def segments(axes: Axes, start: Sequence[Any], end: Sequence[Any], **style: Any) -> None:
    """Draw straight lines as one path.

    Args:
        axes: Axes to draw on.
        start: Horizontal and vertical coordinates of the starts.
        end: Horizontal and vertical coordinates of the ends.
        **style: Style, as for `Axes.plot`.
    """
    (x, y) = (
        np.column_stack([np.broadcast_to(a, n), np.broadcast_to(b, n), np.full(n, np.nan)]).ravel()
        for a, b in zip(start, end, strict=True)
        for n in [max(np.size(a), np.size(b))]
    )
    # A NaN ends a line, so that all segments fit into one path.
    axes.plot(x, y, **style)


def draw_values(
    axes: Axes,
    places: Sequence[int],
    values: Sequence[float],
    spans: Sequence[tuple[float, float]],
    *,
    color: str,
    marker: str = "o",
    label: str | None = None,
) -> None:
    """Draw a value with its interval at each place; a NaN leaves a gap.

    Args:
        axes: Axes to draw on.
        places: Horizontal places of the values.
        values: Values; NaN for a missing one.
        spans: Lower and upper end of each value's interval.
        color: Color of the marks and intervals.
        marker: Marker of matplotlib, used when there are few values.
        label: Entry of the legend; None for none.
    """
    lows, highs = np.array(spans).T
    at = np.asarray(places, dtype=float)
    if len(places) <= MAX_MARKS:
        segments(axes, (at, lows), (at, highs), color=color, lw=2)
        axes.plot(at, values, color=color, lw=1.2, marker=marker, ms=6, label=label)
    else:
        # Dashes of 0.8 places touch neither neighbor; fainter intervals keep hundreds of them from merging.
        segments(axes, (at, lows), (at, highs), color=color, lw=1.2, alpha=0.35)
        segments(axes, (at - 0.4, values), (at + 0.4, values), color=color, lw=2.6, label=label)


def draw_shares(axes: Axes, places: npt.NDArray[np.int64], shares: Sequence[float], color: str) -> None:
    """Draw bars from 0; if there are many, draw their outline as one path."""
    if len(places) <= MAX_MARKS:
        # Each bar is an element of its own, which the page can afford only for few.
        axes.bar(places, shares, color=color, width=0.6)
    else:
        axes.stairs(shares, np.append(places, places[-1] + 1) - 0.5, fill=True, color=color)


def name_extremes(
    axes: Axes, names: NamePlaceholders, values: Sequence[float], layers: Sequence[str]
) -> None:
    """Name the layers of the highest and the lowest value, if their axis only numbers them."""
    # nanargmax fails when every value is NaN
    if len(layers) <= MAX_NAMED_LAYERS or not np.isfinite(values).any():
        return
    # The names would leave the plot at its upper and lower end.
    low, high = axes.get_ylim()
    axes.set_ylim(low - _LABEL_ROOM * (high - low), high + _LABEL_ROOM * (high - low))
    for place, va, gap in ((int(np.nanargmax(values)), "bottom", 9), (int(np.nanargmin(values)), "top", -9)):
        # near an end of the axis, a name extends toward the middle, where there is room
        ha = "left" if place < len(layers) / 4 else "right" if place > 3 * len(layers) / 4 else "center"
        axes.plot(place + 1, values[place], color=INK, marker="o", ms=5, mfc="none", lw=0)
        axes.annotate(
            names.reserve(text(layers[place], 24)),
            (place + 1, values[place]),
            xytext=(0, gap),
            textcoords="offset points",
            ha=ha,
            va=va,
            size=11,
        )


def tick_label(value: float, _: float) -> str:
    """Write a number beside an axis; the second argument, its place, is part of matplotlib's protocol."""
    return compact(value)


def legend_above(axes: Axes, entries: int) -> None:
    """Put the legend on the line of the title, to its right: inside the plot it could cover a curve."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=entries,
        frameon=False,
        fontsize=11,
        borderpad=0.2,
        columnspacing=1.4,
        handletextpad=0.5,
    )
