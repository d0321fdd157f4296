"""The figure of the hidden units."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from cohaudit.report.figures.axes import FIGURE_WIDTH
from cohaudit.report.figures.svg import BLUE, MUTED, NamePlaceholders, draw_svg
from cohaudit.report.words import named, percent, text
from cohaudit.results import CoherentWidth

_MAX_CURVES = 12
"""Layers drawn at most; more curves would hide one another."""
_LINE_STYLES = ("-", "--", "-.", ":")
"""Line styles of successive layers: shades of one color alone are hard to distinguish."""


def width_figure(found: CoherentWidth) -> Markup:
    """Draw the coherent energy that the strongest units of each layer hold together."""
    # unique: of fewer layers than curves, linspace gives some several times
    chosen = np.unique(np.linspace(0, len(found.layers) - 1, _MAX_CURVES).astype(int))
    layers = [found.layers[i] for i in chosen]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.76, top=0.9, bottom=0.16)
        axes.set_title("Coherent energy held by the strongest units")
        for place, layer in enumerate(layers):
            held = np.cumsum(np.sort(layer.energy)[::-1])
            # Darker is deeper; below half the opacity, lines would vanish on a dark page.
            shade = 1 - 0.5 * (len(layers) - 1 - place) / max(1, len(layers) - 1)
            dashes = _LINE_STYLES[place % len(_LINE_STYLES)]
            name = names.reserve(text(layer.name, 15))
            share = np.arange(1, len(held) + 1) / len(held)
            axes.plot(share, held, color=BLUE, alpha=shade, lw=1.6, ls=dashes, label=name)
        # the share of the energy that `LayerUnits.kept` stands for
        axes.axhline(0.9, color=MUTED, lw=1, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("share of the layer's units")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)

    shares = [len(one.kept) / len(one.energy) for one in found.layers]
    few, many = (found.layers[int(place)].name for place in (np.argmin(shares), np.argmax(shares)))
    held = f"{percent(min(shares))} to {percent(max(shares))} of the units hold 90%"
    held += f": fewest in {named(few)}, most in {named(many)}." if few != many else "."
    return draw_svg(
        "width",
        (FIGURE_WIDTH, 300),
        "Coherent energy by share of the units",
        f"{len(layers)} of {len(found.layers)} layers; darker is deeper, 90% is dashed. {held}",
        draw,
    )
