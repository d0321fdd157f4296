"""The figure of coherence by depth."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from cohaudit.report.figures.axes import FIGURE_WIDTH, MAX_NAMED_LAYERS, draw_values, name_layers, tick_label
from cohaudit.report.figures.svg import BLUE, MUTED, NamePlaceholders, draw_svg
from cohaudit.report.words import named, number, plural
from cohaudit.results import DepthTrend, Skipped


def depth_trend_figure(found: DepthTrend) -> Markup:
    """Draw each layer's coherent-to-incoherent ratio with its interval, and that of orthogonal samples."""
    layers = [one.name for one in found.layers]
    ratios = [one.ratio for one in found.layers]
    values = [one.value for one in ratios]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(
            left=0.09, right=0.97, top=0.9, bottom=0.3 if len(layers) <= MAX_NAMED_LAYERS else 0.2
        )
        axes.set_title("Coherent over incoherent gradient energy, α / (1 − α)")
        axes.axhline(found.orthogonal, color=MUTED, lw=1, linestyle="--")
        spans = [(one.low, one.high) for one in ratios]
        draw_values(axes, range(1, len(layers) + 1), values, spans, color=BLUE)
        # Layers often differ by factors of ten, which a linear axis would flatten.
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(tick_label)
        # on a short logarithmic axis, matplotlib would label the minor ticks as well
        axes.yaxis.set_minor_formatter("")
        axes.grid(axis="y")
        name_layers(axes, names, layers)

    high, low = (int(place) for place in (np.argmax(values), np.argmin(values)))
    slope = (
        ""
        if isinstance(found.slope, Skipped)
        else " From the first to the last layer it changes by a factor of 10 to the power "
        f"{number(found.slope.value)}."
    )
    description = (
        f"{plural(len(layers), 'layer')}. The ratio is highest in {named(layers[high])} "
        f"({number(values[high])}) and lowest in {named(layers[low])} ({number(values[low])}); samples "
        f"with nothing in common have {number(found.orthogonal)}.{slope}"
    )
    return draw_svg(
        "trend", (FIGURE_WIDTH, 300), "Coherent over incoherent gradient energy by layer", description, draw
    )
