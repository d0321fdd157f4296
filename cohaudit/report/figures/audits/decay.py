"""The figure of weight decay."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure

from cohaudit.report.figures.axes import FIGURE_WIDTH, tick_label
from cohaudit.report.figures.svg import BLUE, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import number
from cohaudit.results import BackgroundForce, Skipped


def decay_figure(found: BackgroundForce) -> Markup:
    """Draw the range of decay that separates the weights, and the trained decay if it is on that scale."""
    # Decoupled decay (AdamW) is on another scale than L2 on the gradient: it has no place on this axis.
    own = found.trained
    trained = None if isinstance(own, Skipped) or own.decoupled or not own.value else own.value

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.04, right=0.96, top=0.74, bottom=0.4)
        axes.set_title("L2 decay that separates incoherent from coherent weights")
        # either end can be the lower one: they are medians over different weights
        axes.axvspan(*sorted((found.l2.low, found.l2.high)), color=BLUE, alpha=0.25, lw=0)
        axes.axvline(found.l2.low, color=BLUE, lw=2)
        axes.axvline(found.l2.high, color=BLUE, lw=2)
        ends = [found.l2.low, found.l2.high]
        if trained is not None:
            axes.axvline(trained, color=ORANGE, lw=2, linestyle="--")
            ends.append(trained)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(tick_label)
        # on a short logarithmic axis, matplotlib would label the minor ticks as well
        axes.xaxis.set_minor_formatter("")
        axes.set_xlim(min(ends) / 3, max(ends) * 3)
        axes.set_yticks([])
        axes.set_xlabel("λ")

    own_decay = (
        "no trained decay on this scale" if trained is None else f"trained with {number(trained)} (dashed)"
    )
    description = f"From λ = {number(found.l2.low)} to {number(found.l2.high)}; {own_decay}."
    return draw_svg("decay", (FIGURE_WIDTH, 130), "Range of weight decay", description, draw)
