"""The figure of several checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import FIGURE_WIDTH, MAX_MARKS, PERCENT, legend_above
from cohaudit.report.figures.svg import BLUE, INK, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import named, percent, plural
from cohaudit.results import Skipped, Trajectory

_NUMBER = re.compile(r"[0-9]{1,15}")
"""A number in a checkpoint's name; the figure holds no larger one exactly."""


def trajectory_figure(found: Trajectory) -> Markup:
    """Draw accuracies, scores, and the share of the mean gradient by kind of sample, over the checkpoints."""
    points = found.points
    epochs = numbers_of([point.checkpoint for point in points])
    at = epochs or list(range(1, len(points) + 1))
    mark = len(points) <= MAX_MARKS

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[4, 2.5, 2.5])
        figure.subplots_adjust(left=0.09, right=0.97, top=0.95, bottom=0.1, hspace=0.34)
        top.set_title("Accuracy")
        top.plot(at, [p.accuracy for p in points], color=MUTED, lw=1.4, label="training")
        top.plot(
            at, [p.corrected for p in points], color=BLUE, lw=2, marker="o" if mark else "", label="corrected"
        )
        top.plot(
            at, [p.expected for p in points], color=BLUE, lw=1.2, ls="--", label="expected by layers alone"
        )
        held = [(x, p.holdout) for x, p in zip(at, points, strict=True)]
        measured = [(x, value) for x, value in held if not isinstance(value, Skipped)]
        if measured:
            top.plot(
                *zip(*measured, strict=True),
                color=ORANGE,
                lw=2,
                marker="s" if mark else "",
                ms=5,
                label="holdout",
            )
        legend_above(top, 4)
        # no accuracies: on one axis with them, they would be read as such
        middle.set_title("Scores")
        middle.plot(at, [p.rating for p in points], color=INK, lw=1.6, label="rating")
        middle.plot(at, [p.agreement for p in points], color=ORANGE, lw=1.4, ls="--", label="agreement")
        legend_above(middle, 2)
        bottom.set_title("Share of the mean gradient")
        for color, style, kind in ((BLUE, "-", "easy"), (MUTED, "--", "hard"), (ORANGE, "-.", "memorized")):
            values = [getattr(point, kind) for point in points]
            bottom.plot(at, values, color=color, ls=style, lw=1.6, label=kind)
        legend_above(bottom, 3)
        for axes in (top, middle, bottom):
            axes.axvline(at[found.advised], color=INK, lw=1, ls=":")
            axes.grid(axis="y")
            axes.yaxis.set_major_locator(MaxNLocator(5))
        for axes in (top, bottom):
            axes.yaxis.set_major_formatter(PERCENT)
        bottom.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        what = "number in the checkpoint's name" if epochs else "checkpoint, by its place in the table"
        bottom.set_xlabel(f"{what}; dotted: the recommended one")

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
    return draw_svg("trajectory", (FIGURE_WIDTH, 600), title, description, draw)


def numbers_of(names: Sequence[str]) -> list[int]:
    """Return the numbers by which checkpoints are named, such as their epochs.

    Args:
        names: Names of the checkpoints, in the order of training.

    Returns:
        The first number of each name that rises from name to name, in names that are equal apart from their
        numbers; empty if there is none.
    """
    if len({tuple(_NUMBER.split(name)) for name in names}) > 1:
        return []
    for column in zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True):
        if all(a < b for a, b in pairwise(column)):
            return list(column)
    return []
