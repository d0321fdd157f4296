"""The figures of the further audits; how they become SVG is `_svg`'s matter."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report._svg import BLUE, MUTED, ORANGE, Names, draw_svg
from cohaudit.report._words import text
from cohaudit.theory import DepthTrend, RobustStep

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


def robust_step_figure(found: RobustStep) -> Markup:
    """Draw whose the step is by each average, and what survives of the mean in each layer."""
    count, averages = len(found.layers), [one.average for one in found.averages]

    def draw(figure: Figure, names: Names) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 2))
        figure.subplots_adjust(left=0.2, right=0.97, top=0.88, bottom=0.3, wspace=0.25)
        labels = ("by number", *(one.average for one in found.steps))
        shares = [found.memorized / found.samples, *(one.memorized.value for one in found.steps)]
        left.barh(range(len(shares)), shares, color=[MUTED, *([BLUE] * len(found.steps))], height=0.6)
        left.set_yticks(range(len(shares)), labels)
        left.invert_yaxis()
        left.set_title("Memorized samples' share")
        places = range(1, count + 1)
        right.axhline(1, color=MUTED, lw=1, linestyle="--")
        for k, color in enumerate((BLUE, ORANGE, MUTED)):
            kept = [one.averages[k].kept for one in found.layers]
            right.vlines(places, [e.low for e in kept], [e.high for e in kept], color=color, lw=1.5)
            right.plot(places, [e.value for e in kept], color=color, marker="o", ms=4, label=averages[k])
        right.set_ylim(bottom=0)
        right.set_xlim(0.4, count + 0.6)
        right.set_title("Kept of the mean gradient, by layer")
        right.legend(frameon=False)
        if count <= _NAMED:
            shown = [names.stand_in(text(one.name, 15)) for one in found.layers]
            right.set_xticks(places, shown, rotation=30, ha="right", rotation_mode="anchor")
        else:
            right.xaxis.set_major_locator(MaxNLocator(12, integer=True))
            right.set_xlabel("layer, from the input to the output")

    title = "Robust averages of the gradient"
    return draw_svg("robust", (_WIDTH, 300), title, "The numbers are in the tables.", draw)
