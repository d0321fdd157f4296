"""The figure of the input columns."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import FIGURE_WIDTH, MAX_MARKS, legend_above, segments, tick_label
from cohaudit.report.figures.svg import BLUE, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import count, named, number, plural
from cohaudit.results import Inputs

_MAX_DRAWN_COLUMNS = 400
"""Columns drawn at most; if there are more, evenly spaced ones are chosen."""
_VERDICT_MARKS = (("noise", ORANGE, "X"), ("signal", BLUE, "o"), ("rare", MUTED, "s"))
"""Verdict, color and mark: distinct without the color as well."""


def inputs_figure(found: Inputs) -> Markup:
    """Draw the coherence of each input column, and its interval with shuffled labels."""
    total = len(found.columns)
    chosen = (
        np.unique(np.linspace(0, total - 1, _MAX_DRAWN_COLUMNS).astype(int))
        if total > _MAX_DRAWN_COLUMNS
        else range(total)
    )
    places = np.array([place + 1 for place in chosen])
    columns = [found.columns[place] for place in chosen]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Coherence by input column; bars: with labels shuffled")
        shuffled = [one.shuffled for one in columns]
        spans = ((places, [r.low for r in shuffled]), (places, [r.high for r in shuffled]))
        segments(axes, *spans, color=MUTED, lw=2 if total <= MAX_MARKS else 1)
        for verdict, color, marker in _VERDICT_MARKS:
            own = [k for k, one in enumerate(columns) if one.verdict == verdict]
            values = [columns[k].coherence for k in own]
            if own and total <= MAX_MARKS:
                axes.plot(places[own], values, color=color, marker=marker, ms=6, lw=0, label=verdict)
            elif own:
                # a dash also covers the columns that are left out beside it
                half = 0.4 * total / len(columns)
                ends = ((places[own] - half, values), (places[own] + half, values))
                segments(axes, *ends, color=color, lw=3, label=verdict)
        legend_above(axes, len(_VERDICT_MARKS))
        # Coherences span decades but can be below 0, where a logarithm has no value.
        axes.set_yscale("symlog", linthresh=0.01)
        axes.yaxis.set_major_formatter(tick_label)
        axes.grid(axis="y")
        axes.set_xlim(0.4, total + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        some = f"; {len(columns)} are drawn" if len(columns) < total else ""
        axes.set_xlabel(f"column, most certain noise first{some}")

    # there is no column when all inputs are constant
    best = max(found.columns, key=lambda one: one.coherence, default=None)
    description = (
        f"{plural(found.total, 'column')}: {count(found.signal)} carry signal, {count(found.noise)} only "
        f"noise, {count(found.rare)} are too rare to tell, {count(found.constant)} are constant."
    )
    if best:
        description += f" {named(best.name)} has the highest coherence, {number(best.coherence)}."
    return draw_svg("inputs", (FIGURE_WIDTH, 300), "Coherence by input column", description, draw)
