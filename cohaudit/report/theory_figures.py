"""The figures of the further audits; how they become SVG is `_svg`'s matter."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report._svg import BLUE, MUTED, ORANGE, Names, draw_svg
from cohaudit.report._words import text
from cohaudit.theory import BackgroundForce, CoherentWidth, DepthTrend
from cohaudit.verdict import Skipped

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
        axes.yaxis.set_major_formatter("{x:g}")
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


_CURVES = 12
"""Layers that are drawn; more would hide one another."""


def width_figure(found: CoherentWidth) -> Markup:
    """Draw, for each layer, the coherent energy that its strongest units hold together."""
    chosen = np.unique(np.linspace(0, len(found.layers) - 1, _CURVES).astype(int))
    layers = [found.layers[i] for i in chosen]

    def draw(figure: Figure, names: Names) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.76, top=0.9, bottom=0.16)
        axes.set_title("Coherent energy held by the strongest units")
        for place, layer in enumerate(layers):
            held = np.cumsum(np.sort(layer.energy)[::-1])
            shade = 0.25 + 0.75 * place / max(1, len(layers) - 1)
            name = names.stand_in(text(layer.name, 15))
            axes.plot(
                np.arange(1, len(held) + 1) / len(held), held, color=BLUE, alpha=shade, lw=1.4, label=name
            )
        axes.axhline(0.9, color=MUTED, lw=1, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("share of the layer's units")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)

    return draw_svg(
        "width",
        (_WIDTH, 300),
        "Coherent energy by share of the units",
        f"{len(layers)} of {len(found.layers)} layers, the darker the deeper; 90% is dashed.",
        draw,
    )


def decay_figure(found: BackgroundForce) -> Markup:
    """Draw the range of decay that parts the weights, and the trained decay where it is on its scale."""
    own = found.trained
    trained = None if isinstance(own, Skipped) or own.decoupled or not own.value else own.value

    def draw(figure: Figure, names: Names) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.04, right=0.96, top=0.74, bottom=0.4)
        axes.set_title("L2 decay that parts incoherent from coherent weights")
        axes.axvspan(*sorted((found.l2.low, found.l2.high)), color=BLUE, alpha=0.25, lw=0)
        axes.axvline(found.l2.low, color=BLUE, lw=2)
        axes.axvline(found.l2.high, color=BLUE, lw=2)
        ends = [found.l2.low, found.l2.high]
        if trained is not None:
            axes.axvline(trained, color=ORANGE, lw=2, linestyle="--")
            ends.append(trained)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlim(min(ends) / 3, max(ends) * 3)
        axes.set_yticks([])
        axes.set_xlabel("λ")

    told = "no trained decay on this scale" if trained is None else "dashed: the trained one"
    return draw_svg("decay", (_WIDTH, 130), "Range of weight decay", f"The range, and {told}.", draw)
