"""The figure of the stability bound."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import FIGURE_WIDTH, MAX_MARKS, legend_above, tick_label
from cohaudit.report.figures.svg import BLUE, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import number, plural
from cohaudit.results import Skipped, Stability


def stability_figure(found: Stability) -> Markup:
    """Draw the bound without growth over the checkpoints, and the measured gap if there is one."""
    # a term belongs to the steps up to a checkpoint: the first one has none
    places = range(2, len(found.terms) + 2)

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Gap in loss, nats")
        totals = [term.total for term in found.terms]
        marks = ("o", "s") if len(totals) <= MAX_MARKS else ("", "")
        axes.plot(places, totals, color=BLUE, lw=2, marker=marks[0], label="bound, without growth")
        measured = [
            (k, term.measured)
            for k, term in zip(places, found.terms, strict=True)
            if not isinstance(term.measured, Skipped)
        ]
        if measured:
            axes.plot(
                *zip(*measured, strict=True),
                color=ORANGE,
                lw=1.2,
                ls="--",
                marker=marks[1],
                label="measured on the holdout",
            )
        # The bound grows over decades; the measured gap may be below 0.
        if min(totals) > 0:
            axes.set_yscale("symlog", linthresh=min(totals))
            axes.yaxis.set_major_formatter(tick_label)
        legend_above(axes, 2)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("checkpoint")

    title = "Stability bound over the training run"
    last = found.terms[-1]
    description = (
        f"Over {plural(len(found.terms), 'segment')} the bound rises from {number(found.terms[0].total)} to "
        f"{number(last.total)} nats"
    )
    description += "." if isinstance(last.measured, Skipped) else f"; measured: {number(last.measured)}."
    return draw_svg("stability", (FIGURE_WIDTH, 280), title, description, draw)
