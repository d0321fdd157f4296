"""The figures of the further audits; how they become SVG is `_svg`'s matter."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cohaudit.report.figures.axes import MARKED, NAMED, draw_values, legend_above, name_layers, segments
from cohaudit.report.figures.svg import BLUE, INK, MUTED, ORANGE, NamePlaceholders, draw_svg
from cohaudit.report.words import count, named, number, percent, plural, text
from cohaudit.results import (
    BackgroundForce,
    CoherentWidth,
    DepthTrend,
    Inputs,
    RobustStep,
    Skipped,
    Stability,
    Trajectory,
)

_WIDTH = 820


def depth_trend_figure(found: DepthTrend) -> Markup:
    """Draw each layer's coherent-to-incoherent ratio with its interval, and that of orthogonal samples."""
    layers = [one.name for one in found.layers]
    ratios = [one.ratio for one in found.layers]
    values = [one.value for one in ratios]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.9, bottom=0.3 if len(layers) <= NAMED else 0.2)
        axes.set_title("Coherent to incoherent gradient, α / (1 − α)")
        axes.axhline(found.orthogonal, color=MUTED, lw=1, linestyle="--")
        spans = [(one.low, one.high) for one in ratios]
        draw_values(axes, range(1, len(layers) + 1), values, spans, color=BLUE)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.grid(axis="y")
        name_layers(axes, names, layers)

    high, low = (int(place) for place in (np.argmax(values), np.argmin(values)))
    description = (
        f"{plural(len(layers), 'layer')}: highest in {named(layers[high])}, {number(values[high])}, lowest "
        f"in {named(layers[low])}, {number(values[low])}; samples with nothing in common have "
        f"{number(found.orthogonal)}. From the first to the last layer the trend is "
        f"10^{number(found.slope.value)}."
    )
    return draw_svg("trend", (_WIDTH, 300), "Coherent to incoherent gradient by layer", description, draw)


_COLUMNS = 400
"""Columns that are drawn; of more, that many evenly spaced ones."""
_VERDICTS = (("noise", ORANGE, "X"), ("signal", BLUE, "o"), ("rare", MUTED, "s"))
"""Verdict, color and mark: told apart without the color too."""


def inputs_figure(found: Inputs) -> Markup:
    """Draw the coherence of each input column's gradients, and what shuffled labels give it."""
    total = len(found.columns)
    chosen = np.unique(np.linspace(0, total - 1, _COLUMNS).astype(int)) if total > _COLUMNS else range(total)
    places = np.array([place + 1 for place in chosen])
    columns = [found.columns[place] for place in chosen]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Coherence by input column, and with labels shuffled (bars)")
        shuffled = [one.shuffled for one in columns]
        spans = ((places, [r.low for r in shuffled]), (places, [r.high for r in shuffled]))
        segments(axes, *spans, color=MUTED, lw=2 if total <= MARKED else 1)
        for verdict, color, marker in _VERDICTS:
            own = [k for k, one in enumerate(columns) if one.verdict == verdict]
            values = [columns[k].coherence for k in own]
            if own and total <= MARKED:
                axes.plot(places[own], values, color=color, marker=marker, ms=6, lw=0, label=verdict)
            elif own:
                half = 0.4 * total / len(columns)
                ends = ((places[own] - half, values), (places[own] + half, values))
                segments(axes, *ends, color=color, lw=3, label=verdict)
        legend_above(axes, len(_VERDICTS))
        axes.set_yscale("symlog", linthresh=0.01)
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}".replace("-", "−"))
        axes.grid(axis="y")
        axes.set_xlim(0.4, total + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        some = f", {len(columns)} of them drawn" if len(columns) < total else ""
        axes.set_xlabel(f"column, the surest noise first{some}")

    best = max(found.columns, key=lambda one: one.coherence, default=None)
    told = (
        f"Of {plural(found.total, 'column')}, {count(found.noise)} carry noise alone, {count(found.signal)} "
        f"signal, {count(found.rare)} are too rare to tell and {count(found.constant)} are constant."
    )
    if best:
        told += f" The most coherent is {named(best.name)}, {number(best.coherence)}."
    return draw_svg("inputs", (_WIDTH, 300), "Coherence by input column", told, draw)


def robust_step_figure(found: RobustStep) -> Markup:
    """Draw whose the step is by each average, and what survives of the mean in each layer."""
    layers = [one.name for one in found.layers]
    averages = [one.average.removeprefix("winsorized, ") for one in found.averages]
    shares = [found.memorized / found.samples, *(one.memorized.value for one in found.steps)]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 2))
        figure.subplots_adjust(left=0.2, right=0.97, top=0.8, bottom=0.3, wspace=0.25)
        labels = ("by number", *(one.average for one in found.steps))
        left.barh(range(len(shares)), shares, color=[MUTED, *([BLUE] * len(found.steps))], height=0.6)
        left.set_yticks(range(len(shares)), labels)
        left.invert_yaxis()
        left.set_title("Memorized samples' share")
        left.xaxis.set_major_locator(MaxNLocator(3))
        left.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%".replace("-", "−"))
        right.axhline(1, color=MUTED, lw=1, linestyle="--")
        for k, (color, marker) in enumerate(((BLUE, "o"), (ORANGE, "s"), (MUTED, "^"))):
            kept = [one.averages[k].kept for one in found.layers]
            values = [e.value for e in kept]
            spans = [(e.low, e.high) for e in kept]
            places = range(1, len(layers) + 1)
            draw_values(right, places, values, spans, color=color, marker=marker, label=averages[k])
        right.set_ylim(bottom=0)
        right.set_title("Kept of the mean gradient, by layer", pad=28)
        right.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, frameon=False, fontsize=11)
        name_layers(right, names, layers)

    owned = "; ".join(f"{percent(one.memorized.value)}, {one.average}" for one in found.steps)
    kept = "; ".join(f"{number(one.kept.value)}, {one.average}" for one in found.averages)
    told = (
        f"Memorized samples are {percent(shares[0])} of all. Their share of the step, by average: {owned}. "
        f"Kept of the mean gradient: {kept}."
    )
    return draw_svg("robust", (_WIDTH, 320), "Robust averages of the gradient", told, draw)


_CURVES = 12
"""Layers that are drawn; more would hide one another."""
_STYLES = ("-", "--", "-.", ":")
"""Of the lines of successive layers: shades of one color alone are hard to tell apart."""


def width_figure(found: CoherentWidth) -> Markup:
    """Draw, for each layer, the coherent energy that its strongest units hold together."""
    chosen = np.unique(np.linspace(0, len(found.layers) - 1, _CURVES).astype(int))
    layers = [found.layers[i] for i in chosen]

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.76, top=0.9, bottom=0.16)
        axes.set_title("Coherent energy held by the strongest units")
        for place, layer in enumerate(layers):
            held = np.cumsum(np.sort(layer.energy)[::-1])
            shade = 1 - 0.5 * (len(layers) - 1 - place) / max(1, len(layers) - 1)
            dashes = _STYLES[place % len(_STYLES)]
            name = names.reserve(text(layer.name, 15))
            share = np.arange(1, len(held) + 1) / len(held)
            axes.plot(share, held, color=BLUE, alpha=shade, lw=1.6, ls=dashes, label=name)
        axes.axhline(0.9, color=MUTED, lw=1, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("share of the layer's units")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)

    shares = [len(one.kept) / len(one.energy) for one in found.layers]
    few, many = (found.layers[int(place)].name for place in (np.argmin(shares), np.argmax(shares)))
    held = f"90% are held by {percent(min(shares))} to {percent(max(shares))} of the units"
    held += f", fewest in {named(few)}, most in {named(many)}." if few != many else "."
    return draw_svg(
        "width",
        (_WIDTH, 300),
        "Coherent energy by share of the units",
        f"{len(layers)} of {len(found.layers)} layers, the darker the deeper; 90% is dashed. {held}",
        draw,
    )


def decay_figure(found: BackgroundForce) -> Markup:
    """Draw the range of decay that parts the weights, and the trained decay where it is on its scale."""
    own = found.trained
    trained = None if isinstance(own, Skipped) or own.decoupled or not own.value else own.value

    def draw(figure: Figure, names: NamePlaceholders) -> None:
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

    told = f"From λ = {number(found.l2.low)} to {number(found.l2.high)}; "
    told += "no trained decay on this scale" if trained is None else f"trained with {number(trained)}, dashed"
    return draw_svg("decay", (_WIDTH, 130), "Range of weight decay", f"{told}.", draw)


def trajectory_figure(found: Trajectory) -> Markup:
    """Draw the accuracies over the checkpoints, and what memorized samples own of the mean gradient."""
    points = found.points
    places = range(1, len(points) + 1)
    mark = len(points) <= MARKED

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
            axes.axvline(found.advised + 1, color=INK, lw=1, ls=":")
            axes.grid(axis="y")
        bottom.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        bottom.set_xlabel("checkpoint, by its place in the table; the dotted line is the advised one")

    title = "Accuracy and ownership of the gradient over the training"
    advised = points[found.advised]
    last = points[-1]
    description = (
        f"{plural(len(points), 'checkpoint')}. Number {found.advised + 1}, {named(advised.checkpoint)}, is "
        f"advised: its corrected accuracy is {percent(advised.corrected)}, that in training "
        f"{percent(advised.accuracy)}; the last one has {percent(last.corrected)} and "
        f"{percent(last.accuracy)}. Memorized samples own {percent(advised.memorized)} of its gradient, and "
        f"{percent(last.memorized)} of the last one's."
    )
    return draw_svg("trajectory", (_WIDTH, 460), title, description, draw)


def stability_figure(found: Stability) -> Markup:
    """Draw the bound without growth over the checkpoints, and the measured gap where there is one."""
    places = range(2, len(found.terms) + 2)

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.97, top=0.9, bottom=0.2)
        axes.set_title("Gap in loss, nats")
        totals = [term.total for term in found.terms]
        marks = ("o", "s") if len(totals) <= MARKED else ("", "")
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
        if min(totals) > 0:
            axes.set_yscale("symlog", linthresh=min(totals))
            axes.yaxis.set_major_formatter("{x:g}")
        legend_above(axes, 2)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlabel("checkpoint")

    title = "Stability bound over the training"
    last = found.terms[-1]
    description = (
        f"Over {plural(len(found.terms), 'stretch')} the bound rises from {number(found.terms[0].total)} to "
        f"{number(last.total)} nats"
    )
    description += "." if isinstance(last.measured, Skipped) else f"; measured: {number(last.measured)}."
    return draw_svg("stability", (_WIDTH, 280), title, description, draw)
