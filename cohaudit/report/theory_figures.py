"""The figures of the further audits; how they become SVG is `_svg`'s matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report._svg import BLUE, INK, MUTED, ORANGE, Names, draw_svg
from cohaudit.report._words import text
from cohaudit.theory import (
    BackgroundForce,
    CoherentWidth,
    DepthTrend,
    Inputs,
    RobustStep,
    Stability,
    Trajectory,
)
from cohaudit.verdict import Skipped

_WIDTH = 820

_NAMED = 12
"""Up to this many layers are named on the axis; more are numbered."""


def _name_layers(axes: Axes, names: Names, layers: Sequence[str]) -> None:
    """Name the layers at places 1, 2, … of the horizontal axis; number them where they are many."""
    if len(layers) <= _NAMED:
        shown = [names.stand_in(text(name, 15)) for name in layers]
        axes.set_xticks(range(1, len(layers) + 1), shown, rotation=30, ha="right", rotation_mode="anchor")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("layer, from the input to the output")


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
        axes.yaxis.set_minor_formatter("")
        axes.grid(axis="y")
        axes.set_xlim(0.4, count + 0.6)
        _name_layers(axes, names, [one.name for one in found.layers])

    title = "Coherent to incoherent gradient by layer"
    return draw_svg("trend", (_WIDTH, 300), title, f"{count} layers; the numbers are in the table.", draw)


def inputs_figure(found: Inputs) -> Markup:
    """Draw the coherence of each input column's gradients, and what shuffled labels give it."""
    places = range(1, len(found.columns) + 1)

    def draw(figure: Figure, names: Names) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Coherence by input column, and with labels shuffled (bars)")
        shuffled = [one.shuffled for one in found.columns]
        axes.vlines(places, [r.low for r in shuffled], [r.high for r in shuffled], color=MUTED, lw=2)
        colors = {"signal": BLUE, "noise": ORANGE, "rare": MUTED}
        axes.scatter(
            places,
            [one.coherence for one in found.columns],
            c=[colors[one.verdict] for one in found.columns],
            s=24 if len(found.columns) <= 60 else 10,
            zorder=3,
        )
        axes.set_yscale("symlog", linthresh=0.01)
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}".replace("-", "−"))
        axes.grid(axis="y")
        axes.set_xlim(0.4, len(found.columns) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("column, the surest noise first; orange: noise, blue: signal")

    told = f"{found.noise} of {found.total} columns carry noise alone; the numbers are in the table."
    return draw_svg("inputs", (_WIDTH, 300), "Coherence by input column", told, draw)


def robust_step_figure(found: RobustStep) -> Markup:
    """Draw whose the step is by each average, and what survives of the mean in each layer."""
    count, averages = len(found.layers), [one.average for one in found.averages]

    def draw(figure: Figure, names: Names) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 2))
        figure.subplots_adjust(left=0.2, right=0.97, top=0.88, bottom=0.3, wspace=0.25)
        labels = ("by number", *(one.average for one in found.steps))
        shares = [found.memorized / found.samples, *(one.memorized.value for one in found.steps)]
        left.barh(range(len(shares)), shares, color=[MUTED, *([BLUE] * len(found.steps))], height=0.6)
        left.set_yticks(range(len(shares)), labels)
        left.invert_yaxis()
        left.set_title("Memorized samples' share")
        places = range(1, count + 1)
        right.axhline(1, color=MUTED, lw=1, linestyle="--")
        for k, color in enumerate((BLUE, ORANGE, MUTED)):
            kept = [one.averages[k].kept for one in found.layers]
            right.vlines(places, [e.low for e in kept], [e.high for e in kept], color=color, lw=1.5)
            right.plot(places, [e.value for e in kept], color=color, marker="o", ms=4, label=averages[k])
        right.set_ylim(bottom=0)
        right.set_xlim(0.4, count + 0.6)
        right.set_title("Kept of the mean gradient, by layer")
        right.legend(frameon=False)
        _name_layers(right, names, [one.name for one in found.layers])

    title = "Robust averages of the gradient"
    return draw_svg("robust", (_WIDTH, 300), title, "The numbers are in the tables.", draw)


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


def trajectory_figure(found: Trajectory) -> Markup:
    """Draw the accuracies over the checkpoints, and what memorized samples own of the mean gradient."""
    places = range(1, len(found.points) + 1)

    def draw(figure: Figure, names: Names) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        figure.subplots_adjust(left=0.09, right=0.97, top=0.94, bottom=0.12, hspace=0.3)
        top.set_title("Accuracy")
        top.plot(places, [p.accuracy for p in found.points], color=MUTED, lw=1.2, label="training")
        top.plot(places, [p.corrected for p in found.points], color=BLUE, lw=2, marker="o", label="corrected")
        top.plot(
            places, [p.agreement for p in found.points], color=ORANGE, lw=1.2, ls="--", label="agreement"
        )
        top.plot(places, [p.rating for p in found.points], color=INK, lw=1.2, label="rating")
        held = [(k, p.holdout) for k, p in zip(places, found.points, strict=True)]
        measured = [(k, value) for k, value in held if not isinstance(value, Skipped)]
        if measured:
            top.plot(*zip(*measured, strict=True), color=ORANGE, lw=0, marker="s", ms=5, label="holdout")
        top.legend(loc="lower right", frameon=False, fontsize=11)
        bottom.set_title("Share of the mean gradient")
        for color, style, kind in ((BLUE, "-", "easy"), (MUTED, "--", "hard"), (ORANGE, "-", "memorized")):
            values = [getattr(point, kind) for point in found.points]
            bottom.plot(places, values, color=color, ls=style, lw=1.6, label=kind)
        bottom.legend(loc="upper left", frameon=False, fontsize=11)
        for axes in (top, bottom):
            axes.axvline(found.advised + 1, color=INK, lw=1, ls=":")
            axes.grid(axis="y")
        bottom.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        bottom.set_xlabel("checkpoint, by its place in the table; the dotted line is the advised one")

    title = "Accuracy and ownership of the gradient over the training"
    description = f"{len(found.points)} checkpoints; the numbers are in the table that follows."
    return draw_svg("trajectory", (_WIDTH, 460), title, description, draw)


def stability_figure(found: Stability) -> Markup:
    """Draw the bound without growth over the checkpoints, and the measured gap where there is one."""
    places = range(2, len(found.terms) + 2)

    def draw(figure: Figure, names: Names) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Gap in loss, nats")
        totals = [term.total for term in found.terms]
        axes.plot(places, totals, color=BLUE, lw=2, marker="o", label="bound, without growth")
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
                marker="s",
                label="measured on the holdout",
            )
        if min(totals) > 0:
            axes.set_yscale("symlog", linthresh=min(totals))
            axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(loc="upper left", frameon=False, fontsize=11)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("checkpoint")

    title = "Stability bound over the training"
    description = f"{len(found.terms)} stretches; the numbers are in the table that follows."
    return draw_svg("stability", (_WIDTH, 280), title, description, draw)
