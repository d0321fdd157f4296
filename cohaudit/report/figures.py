"""The figures of the report, drawn from results; how they become SVG is `_svg`'s matter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from unicodedata import east_asian_width

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cohaudit.report._svg import BLUE, INK, LINE, MUTED, ORANGE, Names, draw_svg
from cohaudit.report._words import signed, text
from cohaudit.results import ClassResult, Coherence, Layer

_WIDTH = 820
_NAME = 15
"""Most characters of a name beside an axis."""
_CHARACTER = 6.6
"""Width of a character beside an axis, in pixels."""
_NAMED_LAYERS = 12
"""Up to this many layers are named on the axis; more are numbered as in the table."""
_NAMED_CLASSES = 40
"""Up to this many classes are named beside the heat map; more cannot be read."""
_NUMBERED_CLASSES = 12
"""Up to this many classes have their cosines written into the heat map."""
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g}%")
_RGB = {True: (0, 114 / 255, 178 / 255), False: (213 / 255, 94 / 255, 0)}
"""Colors of a positive and of a negative cosine, apart for every kind of color vision."""


def depth_profile(layers: Sequence[Layer]) -> Markup:
    """Draw the coherence of each layer with its interval, and its share of the gradient energy."""
    named = len(layers) <= _NAMED_LAYERS
    below = 22 + 0.5 * _widest(layer.name for layer in layers) if named else 44
    height = 352 + round(below)

    def draw(figure: Figure, names: Names) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[5, 2])
        figure.subplots_adjust(left=0.08, right=0.92, top=1 - 28 / height, bottom=below / height, hspace=0.28)
        _draw_coherence(top, layers)
        bottom.set_title("Share of the gradient energy")
        bottom.bar(range(1, len(layers) + 1), [layer.energy for layer in layers], color=BLUE, width=0.6)
        bottom.yaxis.set_major_formatter(_PERCENT)
        bottom.yaxis.set_major_locator(MaxNLocator(3))
        bottom.grid(axis="y")
        bottom.set_xlim(0.4, len(layers) + 0.6)
        if named:
            shown = [names.stand_in(text(layer.name, _NAME)) for layer in layers]
            bottom.set_xticks(
                range(1, len(layers) + 1), shown, rotation=30, ha="right", rotation_mode="anchor"
            )
        else:
            bottom.xaxis.set_major_locator(MaxNLocator(12, integer=True))
            bottom.set_xlabel("layer, from the input to the output: its number in the table")

    title = "Depth profile: coherence and gradient energy by layer"
    description = f"{len(layers)} layers from input to output; the numbers are in the table that follows."
    return draw_svg("depth", (_WIDTH, height), title, description, draw)


def _widest(names: Iterable[str]) -> float:
    """Width of the widest name beside an axis, in pixels; East Asian characters take two places."""
    shown = (text(name, _NAME).short for name in names)
    return _CHARACTER * max(
        (sum(1 + (east_asian_width(c) in "WF") for c in name) for name in shown), default=0
    )


def _draw_coherence(axes: Axes, layers: Sequence[Layer]) -> None:
    measured = {i: c for i, layer in enumerate(layers, 1) if isinstance(c := layer.coherence, Coherence)}
    axes.set_title("Pairwise coherence α\u1d64")
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.grid(axis="y")
    if not measured:
        return
    pairwise = [c.pairwise for c in measured.values()]
    axes.vlines(list(measured), [p.low for p in pairwise], [p.high for p in pairwise], color=BLUE, lw=2)
    numbers = range(1, len(layers) + 1)
    values = [measured[i].pairwise.value if i in measured else math.nan for i in numbers]
    axes.plot(numbers, values, color=BLUE, lw=1.2, marker="o", ms=6 if len(layers) <= 40 else 3.5)
    _add_m_coherence(axes, next(iter(measured.values())).samples)


def _add_m_coherence(axes: Axes, samples: int) -> None:
    """Add an axis on the right: m-coherence is 1 + (m − 1) α_u, the same curve on another scale."""

    def m_coherence(pairwise: npt.ArrayLike) -> npt.ArrayLike:
        return 1 + (samples - 1) * np.asarray(pairwise)

    def pairwise(m_coherence: npt.ArrayLike) -> npt.ArrayLike:
        return (np.asarray(m_coherence) - 1) / (samples - 1)

    axes.secondary_yaxis("right", functions=(m_coherence, pairwise)).set_ylabel("m-coherence")


def class_bars(classes: Sequence[ClassResult], *, suspects: bool) -> Markup:
    """Draw the coherence of each class with its interval, its accuracy and, if any, its share of suspects."""
    height = 62 + 24 * len(classes)

    def draw(figure: Figure, names: Names) -> None:
        widths = [5, 2, 2] if suspects else [5, 2]
        coherence, accuracy, *rest = figure.subplots(1, len(widths), sharey=True, width_ratios=widths)
        left = (16 + _widest(c.name for c in classes)) / _WIDTH
        figure.subplots_adjust(left=left, right=0.97, top=1 - 30 / height, bottom=30 / height, wspace=0.18)
        rows = np.arange(len(classes))
        _draw_bars(coherence, classes)
        coherence.set_yticks(rows, [names.stand_in(text(c.name, _NAME)) for c in classes])
        coherence.set_ylim(len(classes) - 0.4, -0.6)
        accuracy.set_title("Accuracy")
        accuracy.barh(rows, [c.accuracy for c in classes], color=MUTED, height=0.6)
        for axes in rest:
            axes.set_title("Suspects")
            axes.barh(rows, [c.suspects / max(c.samples, 1) for c in classes], color=ORANGE, height=0.6)
        for axes in (accuracy, *rest):
            axes.xaxis.set_major_formatter(_PERCENT)
            axes.xaxis.set_major_locator(MaxNLocator(2))
            axes.set_xlim(left=0)
        accuracy.set_xlim(0, 1)
        for axes in (coherence, accuracy, *rest):
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(axes is not coherence)

    title = f"Classes: coherence, accuracy{' and share of suspects' if suspects else ''}"
    description = f"{len(classes)} classes; the numbers are in the table that follows."
    return draw_svg("classes", (_WIDTH, height), title, description, draw)


def _draw_bars(axes: Axes, classes: Sequence[ClassResult]) -> None:
    axes.set_title("Pairwise coherence α\u1d64")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    for row, result in enumerate(classes):
        if isinstance(result.coherence, Coherence):
            pairwise = result.coherence.pairwise
            axes.barh(row, pairwise.value, color=BLUE, height=0.6)
            axes.hlines(row, pairwise.low, pairwise.high, color=INK, lw=1.2)
        else:
            axes.text(0, row, "  not measured", color=MUTED, va="center", size=11)


def cosine_map(class_names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Markup:
    """Draw the cosines between the mean gradients of the classes, as numbers too where they fit."""
    n = len(class_names)
    cell = 48 if n <= _NUMBERED_CLASSES else 600 / n
    widest = _widest(class_names) if n <= _NAMED_CLASSES else 0.0
    left, bottom, right, top = 14 + widest, 20 + 0.75 * widest, 84, 12
    width, height = round(left + n * cell + right), max(round(bottom + n * cell + top), 190)

    def draw(figure: Figure, names: Names) -> None:
        side = n * cell
        axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
        axes.imshow(_colors(np.array(matrix), skip_diagonal=True), interpolation="none", aspect="auto")
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks([])
        if n <= _NAMED_CLASSES:
            _name_classes(axes, [names.stand_in(text(name, _NAME)) for name in class_names], cell)
        if n <= _NUMBERED_CLASSES:
            _write_cosines(axes, matrix)
        _draw_scale(figure.add_axes((1 - 62 / width, 1 - (top + 150) / height, 14 / width, 150 / height)))

    title = "Cosines between the mean gradients of the classes"
    description = f"A map of {n} by {n} classes; the most opposed pairs are in the table that follows."
    return draw_svg("cosines", (width, height), title, description, draw)


def _name_classes(axes: Axes, shown: list[str], cell: float) -> None:
    size = min(12.0, max(7.0, cell * 0.62))
    axes.tick_params(length=0)
    axes.set_yticks(range(len(shown)), shown, fontsize=size)
    axes.set_xticks(range(len(shown)), shown, fontsize=size, rotation=45, ha="right", rotation_mode="anchor")


def _write_cosines(axes: Axes, matrix: Sequence[Sequence[float]]) -> None:
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if i != j:
                axes.text(j, i, signed(value), ha="center", va="center", size=11.5, color=INK)


def _draw_scale(axes: Axes) -> None:
    axes.imshow(
        _colors(np.linspace(1, -1, 41)[:, None]), extent=(0, 1, -1, 1), aspect="auto", interpolation="none"
    )
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "\u2212") if value else "0")
    )


def _colors(cosines: npt.NDArray[np.float64], *, skip_diagonal: bool = False) -> npt.NDArray[np.float64]:
    """Color [rows, columns, RGBA] of cosines: none at 0, so that it fits a light and a dark page."""
    colors = np.empty((*cosines.shape, 4))
    colors[..., :3] = np.where(cosines[..., None] > 0, _RGB[True], _RGB[False])
    colors[..., 3] = 0.8 * np.clip(np.abs(cosines), 0, 1) ** 0.7
    if skip_diagonal:
        colors[np.eye(len(cosines), dtype=bool)] = (0.5, 0.5, 0.5, 0.2)
    return colors


def suspicion_histogram(suspicion: pd.Series[float], threshold: float) -> Markup:
    """Draw how many samples have which suspicion, the suspects in another color."""

    def draw(figure: Figure, names: Names) -> None:
        del names
        figure.subplots_adjust(left=0.08, right=0.97, top=0.86, bottom=0.24)
        axes = figure.add_subplot()
        below, above = suspicion[suspicion < threshold], suspicion[suspicion >= threshold]
        bins = np.linspace(0, 1, 41).tolist()
        axes.set_title("Samples by suspicion (logarithmic)")
        axes.hist([below, above], bins=bins, stacked=True, color=[BLUE, ORANGE], rwidth=0.85)
        axes.axvline(threshold, color=INK, lw=1.2, ls=(0, (4, 3)))
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.minorticks_off()
        axes.grid(axis="y", color=LINE)
        axes.set_xlim(0, 1)
        axes.set_xlabel("suspicion; suspects are right of the dashed line")

    title = "How many samples have which suspicion"
    description = f"{(suspicion >= threshold).sum()} of {len(suspicion)} samples reach the threshold."
    return draw_svg("suspicion", (_WIDTH, 200), title, description, draw)
