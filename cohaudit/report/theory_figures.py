"""The figures of the further audits; how they become SVG is `_svg`'s matter."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report._svg import BLUE, MUTED, ORANGE, Names, draw_svg
from cohaudit.report._words import text
from cohaudit.theory import DepthTrend, Inputs

_WIDTH = 820
_NAMED = 12
"""Up to this many layers are named on the axis; more are numbered."""


def depth_trend_figure(found: DepthTrend) -> Markup:
    """Draw each layer's coherent-to-incoherent ratio with its interval, and that of orthogonal samples."""
    count = len(found.layers)

    def draw(figure: Figure, names: Names) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.9, bottom=0.3 if count <= _NAMED else 0.2)
        axes.set_title("Coherent to incoherent gradient, α / (1 − α)")
        places = range(1, count + 1)
        ratios = [one.ratio for one in found.layers]
        axes.axhline(found.orthogonal, color=MUTED, lw=1, linestyle="--")
        axes.vlines(places, [r.low for r in ratios], [r.high for r in ratios], color=BLUE, lw=2)
        axes.plot(
            places, [r.value for r in ratios], color=BLUE, lw=1.2, marker="o", ms=6 if count <= 40 else 3
        )
        axes.set_yscale("log")
        axes.grid(axis="y")
        axes.set_xlim(0.4, count + 0.6)
        if count <= _NAMED:
            shown = [names.stand_in(text(one.name, 15)) for one in found.layers]
            axes.set_xticks(places, shown, rotation=30, ha="right", rotation_mode="anchor")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
            axes.set_xlabel("layer, from the input to the output")

    title = "Coherent to incoherent gradient by layer"
    return draw_svg("trend", (_WIDTH, 300), title, f"{count} layers; the numbers are in the table.", draw)


def inputs_figure(found: Inputs) -> Markup:
    """Draw the coherence of each input column's gradients, and what shuffled labels give it."""
    places = range(1, len(found.columns) + 1)

    def draw(figure: Figure, names: Names) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Coherence by input column, and with labels shuffled (bars)")
        shuffled = [one.shuffled for one in found.columns]
        axes.vlines(places, [r.low for r in shuffled], [r.high for r in shuffled], color=MUTED, lw=2)
        colors = {"signal": BLUE, "noise": ORANGE, "rare": MUTED}
        axes.scatter(
            places,
            [one.coherence for one in found.columns],
            c=[colors[one.verdict] for one in found.columns],
            s=24 if len(found.columns) <= 60 else 10,
            zorder=3,
        )
        axes.set_yscale("symlog", linthresh=0.01)
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}".replace("-", "−"))
        axes.grid(axis="y")
        axes.set_xlim(0.4, len(found.columns) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("column, the surest noise first; orange: noise, blue: signal")

    told = f"{found.noise} of {found.total} columns carry noise alone; the numbers are in the table."
    return draw_svg("inputs", (_WIDTH, 300), "Coherence by input column", told, draw)
