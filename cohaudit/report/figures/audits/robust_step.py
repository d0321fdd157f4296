"""The figure of robust averages."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import FIGURE_WIDTH, draw_values, name_layers
from cohaudit.report.figures.svg import BLUE, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import compact, number, percent, prose, text
from cohaudit.results import RobustStep


def robust_step_figure(found: RobustStep) -> Markup:
    """Draw the memorized samples' share of the update by each average, and what survives of the mean."""
    layers = [one.name for one in found.layers]
    averages = [one.average.removeprefix("winsorized, ") for one in found.averages]
    shares = [found.memorized / found.samples, *(one.memorized.value for one in found.steps)]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 2))
        figure.subplots_adjust(left=0.2, right=0.97, top=0.8, bottom=0.3, wspace=0.25)
        labels = ("in the data", *(names.reserve(text(one.average, 24)) for one in found.steps))
        left.barh(range(len(shares)), shares, color=[MUTED, *([BLUE] * len(found.steps))], height=0.6)
        left.set_yticks(range(len(shares)), labels)
        # matplotlib counts upward: else the data would be below the averages
        left.invert_yaxis()
        left.set_title("Share of memorized samples")
        left.xaxis.set_major_locator(MaxNLocator(3))
        left.xaxis.set_major_formatter(lambda share, _: f"{compact(100 * share)}%")
        right.axhline(1, color=MUTED, lw=1, linestyle="--")
        for k, (color, marker) in enumerate(((BLUE, "o"), (ORANGE, "s"), (MUTED, "^"))):
            lengths = [one.averages[k].kept for one in found.layers]
            values = [one.value for one in lengths]
            spans = [(one.low, one.high) for one in lengths]
            places = range(1, len(layers) + 1)
            label = names.reserve(text(averages[k], 24))
            draw_values(right, places, values, spans, color=color, marker=marker, label=label)
        right.set_ylim(bottom=0)
        # pad: the legend is between the title and the plot
        right.set_title("Length relative to the mean gradient, by layer", pad=28)
        right.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, frameon=False, fontsize=11)
        name_layers(right, names, layers)

    updates = "; ".join(f"{prose(one.average)} {percent(one.memorized.value)}" for one in found.steps)
    lengths = "; ".join(f"{prose(one.average)} {number(one.kept.value)}" for one in found.averages)
    description = (
        f"Memorized samples are {percent(shares[0])} of all. Their share of the update: {updates}. Length "
        f"relative to the mean gradient: {lengths}."
    )
    return draw_svg("robust", (FIGURE_WIDTH, 320), "Robust averages of the gradient", description, draw)
