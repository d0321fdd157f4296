"""The figures of the layers and the suspicions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cohaudit.report.figures.axes import (
    FIGURE_WIDTH,
    MAX_NAMED_LAYERS,
    PERCENT,
    draw_shares,
    draw_values,
    name_extremes,
    name_layers,
    widest,
)
from cohaudit.report.figures.svg import BLUE, INK, LINE, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import compact, count, number, plural
from cohaudit.results import Coherence, Layer

_HISTOGRAM_SIZE = (600, 340)
"""Width and height of the histogram, in CSS pixels: it stands beside the table of labels."""


def depth_profile(layers: Sequence[Layer], finding: str) -> Markup:
    """Draw the coherence of each layer with its interval, and its share of the gradient energy.

    Args:
        layers: Layers, from the input to the output.
        finding: What stands out, in a sentence.
    """
    few = len(layers) <= MAX_NAMED_LAYERS
    below = 22 + 0.5 * widest(layer.name for layer in layers) if few else 44
    height = 352 + round(below)
    missing = sum(not isinstance(layer.coherence, Coherence) for layer in layers)

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[5, 2])
        figure.subplots_adjust(left=0.08, right=0.92, top=1 - 28 / height, bottom=below / height, hspace=0.28)
        _draw_coherence(top, layers, names)
        bottom.set_title("Share of the gradient energy")
        draw_shares(bottom, np.arange(1, len(layers) + 1), [layer.energy for layer in layers], BLUE)
        bottom.yaxis.set_major_formatter(PERCENT)
        bottom.yaxis.set_major_locator(MaxNLocator(3))
        bottom.grid(axis="y")
        name_layers(bottom, names, [layer.name for layer in layers])

    title = "Depth profile: coherence and gradient energy by layer"
    unmeasured = f" {plural(missing, 'layer')} without coherence." if missing else ""
    description = f"{plural(len(layers), 'layer')} from input to output. {finding}{unmeasured}"
    return draw_svg("depth", (FIGURE_WIDTH, height), title, description, draw)


def _draw_coherence(axes: Axes, layers: Sequence[Layer], names: NamePlaceholders) -> None:
    measured = [layer.coherence for layer in layers if isinstance(layer.coherence, Coherence)]
    axes.set_title("Pairwise coherence α\u1d64")
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.grid(axis="y")
    if not measured:
        return
    found = [layer.coherence.pairwise if isinstance(layer.coherence, Coherence) else None for layer in layers]
    values = [one.value if one else math.nan for one in found]
    spans = [(one.low, one.high) if one else (math.nan, math.nan) for one in found]
    draw_values(axes, range(1, len(layers) + 1), values, spans, color=BLUE)
    name_extremes(axes, names, values, [layer.name for layer in layers])
    _add_m_coherence(axes, measured[0].samples)


def _add_m_coherence(axes: Axes, samples: int) -> None:
    """Add an axis on the right: m-coherence is 1 + (m − 1) αᵤ, the same curve on another scale."""

    def m_coherence(pairwise: npt.ArrayLike) -> npt.ArrayLike:
        return 1 + (samples - 1) * np.asarray(pairwise)

    def pairwise(m_coherence: npt.ArrayLike) -> npt.ArrayLike:
        return (np.asarray(m_coherence) - 1) / (samples - 1)

    axes.secondary_yaxis("right", functions=(m_coherence, pairwise)).set_ylabel("m-coherence")


def suspicion_histogram(suspicion: pd.Series[float], threshold: float, *, listed: bool) -> Markup:
    """Draw the number of samples by suspicion, the suspects in another color.

    Args:
        suspicion: Suspicion of each sample.
        threshold: Suspicion from which a sample is a suspect.
        listed: Whether suspects are listed at all; if not, no sample counts as one.
    """
    below = suspicion[(suspicion < threshold) | (not listed)]
    above = suspicion[(suspicion >= threshold) & listed]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        # a histogram has no names; the parameter is part of `Draw`
        del names
        figure.subplots_adjust(left=0.1, right=0.97, top=0.92, bottom=0.15)
        axes = figure.add_subplot()
        bins = np.linspace(0, 1, 41).tolist()
        axes.set_title("Samples by suspicion (logarithmic)")
        axes.hist([below, above], bins=bins, stacked=True, color=[BLUE, ORANGE], rwidth=0.85)
        if listed:
            axes.axvline(threshold, color=INK, lw=1.2, ls=(0, (4, 3)))
        # Suspects are few: on a linear axis they would be invisible beside the typical samples.
        axes.set_yscale("log")
        # Just below 1, so that a bin with a single sample has a visible bar.
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.minorticks_off()
        axes.grid(axis="y", color=LINE)
        axes.set_xlim(0, 1)
        where = "right of the dashed line" if listed else "not listed"
        axes.set_xlabel(f"suspicion; suspects are {where}")

    title = "Number of samples by suspicion"
    median = float(suspicion.median())
    most = float(suspicion.max())
    suspects = (
        f"{count(len(above))} of {plural(len(suspicion), 'sample')} have at least the threshold of "
        f"{compact(threshold)}"
    )
    description = (
        f"{suspects if listed else 'No suspects are listed'}; the highest suspicion is {number(most)}, the "
        f"median {number(median)}."
    )
    return draw_svg("suspicion", _HISTOGRAM_SIZE, title, description, draw)
