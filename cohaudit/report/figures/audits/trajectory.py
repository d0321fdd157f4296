"""The figure of several checkpoints."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import FIGURE_WIDTH, MAX_MARKS, legend_above
from cohaudit.report.figures.svg import BLUE, INK, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import named, percent, plural
from cohaudit.results import Skipped, Trajectory


def trajectory_figure(found: Trajectory) -> Markup:
    """Draw the accuracies over the checkpoints, and the share of the mean gradient by kind of sample."""
    points = found.points
    places = range(1, len(points) + 1)
    mark = len(points) <= MAX_MARKS

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        figure.subplots_adjust(left=0.09, right=0.97, top=0.94, bottom=0.12, hspace=0.3)
        top.set_title("Accuracy")
        top.plot(places, [p.accuracy for p in points], color=MUTED, lw=1.2, label="training")
        corrected = [p.corrected for p in points]
        top.plot(places, corrected, color=BLUE, lw=2, marker="o" if mark else "", label="corrected")
        top.plot(places, [p.agreement for p in points], color=ORANGE, lw=1.2, ls="--", label="agreement")
        top.plot(places, [p.rating for p in points], color=INK, lw=1.2, ls="-.", label="rating")
        held = [(k, p.holdout) for k, p in zip(places, points, strict=True)]
        measured = [(k, value) for k, value in held if not isinstance(value, Skipped)]
        if measured:
            top.plot(*zip(*measured, strict=True), color=ORANGE, lw=0, marker="s", ms=5, label="holdout")
        legend_above(top, 5)
        bottom.set_title("Share of the mean gradient")
        for color, style, kind in ((BLUE, "-", "easy"), (MUTED, "--", "hard"), (ORANGE, "-.", "memorized")):
            values = [getattr(point, kind) for point in points]
            bottom.plot(places, values, color=color, ls=style, lw=1.6, label=kind)
        legend_above(bottom, 3)
        for axes in (top, bottom):
            # audit.json numbers checkpoints from 0, the page from 1
            axes.axvline(found.advised + 1, color=INK, lw=1, ls=":")
            axes.grid(axis="y")
        bottom.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        bottom.set_xlabel("checkpoint, by its place in the table; dotted: the recommended one")

    title = "Accuracy and share of the gradient over the training run"
    advised = points[found.advised]
    last = points[-1]
    description = (
        f"{plural(len(points), 'checkpoint')}. Number {found.advised + 1}, {named(advised.checkpoint)}, is "
        f"recommended: corrected accuracy {percent(advised.corrected)}, training accuracy "
        f"{percent(advised.accuracy)}. The last one has {percent(last.corrected)} and "
        f"{percent(last.accuracy)}. Memorized samples have {percent(advised.memorized)} of the mean "
        f"gradient at the recommended checkpoint and {percent(last.memorized)} at the last one."
    )
    return draw_svg("trajectory", (FIGURE_WIDTH, 460), title, description, draw)
