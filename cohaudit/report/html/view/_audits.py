"""The further audits: one section each, of one form, so that the template lays out any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from cohaudit.report.figures.audit_figures import (
    decay_figure,
    depth_trend_figure,
    inputs_figure,
    robust_step_figure,
    stability_figure,
    trajectory_figure,
    width_figure,
)
from cohaudit.report.html.view._tables import Table, shortened
from cohaudit.report.words import Text, count, interval, number, percent, prose, seconds, text
from cohaudit.results import (
    Audit,
    BackgroundForce,
    CoherentWidth,
    DepthTrend,
    Estimate,
    InputColumn,
    Inputs,
    Memory,
    Point,
    RobustStep,
    Skipped,
    Stability,
    Trajectory,
)
from cohaudit.results.trajectory import STRATA


@dataclass(frozen=True)
class Section:
    """One further audit."""

    name: str
    """Its key in audit.json, and its id on the page."""
    title: str
    advice: str
    """What to do, with the number behind it."""
    figure: Markup
    """Empty for none."""
    tables: tuple[Table, ...]
    reading: str
    cost: str
    """What it added to the time of the scan."""


TITLES: Mapping[str, str] = {
    "depth": "Depth: does it amplify what samples share?",
    "width": "Width: the coherent sub-network",
    "inputs": "Input columns: which carry signal?",
    "decay": "Weight decay as a background force",
    "memory": "The optimizer's memory",
    "robust": "Robust averages: whose is the step?",
    "trajectory": "Trajectory: what was learned when, and where to stop",
    "stability": "Stability bound along the training",
}


def build_audits(audit: Audit) -> tuple[Section, ...]:
    """Put those further audits that were run into words."""
    found = []
    for name, build in BUILDERS.items():
        result = getattr(audit.audits, name)
        if not isinstance(result, Skipped):
            cost = audit.timings.get(f"audit {name}")
            figure, tables, reading = build(result)
            tables = tuple(map(shortened, tables))
            told = "" if cost is None else f"Took {seconds(cost)}."
            found.append(Section(name, TITLES[name], prose(result.advice), figure, tables, reading, told))
    return tuple(found)


Body = tuple[Markup, tuple[Table, ...], str]
"""Figure, tables, and how to read them."""


def _depth(found: DepthTrend) -> Body:
    rows = tuple(
        (text(one.name, 40), (number(one.ratio.value), interval(one.ratio), f"{one.amplification:.2g}×"))
        for one in found.layers
    )
    table = Table("Coherent to incoherent", ("Layer", "Ratio", "Interval", "To the layer before"), rows)
    reading = (
        "The ratio is the energy of the gradient that all samples share over that of the rest, α / (1 − α). "
        f"Samples with nothing in common have {number(found.orthogonal)}, the dashed line; below it, they "
        "pull against each other. The slope tells where in the network they agree most, and nothing of its "
        "accuracy on new data. "
        f"Slope: 10^{number(found.slope.value)} from the first to the last layer "
        f"({number(found.slope.low)} to {number(found.slope.high)})."
    )
    return depth_trend_figure(found), (table,), reading


def _memory(found: Memory) -> Body:
    rows = tuple(
        (text(one.name, 40), (percent(max(0.0, one.coherence)), f"{one.steps:,}")) for one in found.layers
    )
    table = Table("Steadiness by layer", ("Layer", "Steady", "Steps"), rows)
    reading = (
        f"From the optimizer's own averages ({found.optimizer}), without data: the share of the gradients' "
        "energy over the last steps that was one steady direction. It is the agreement of successive steps, "
        "not that of samples, and says whether training on would still move the weights."
    )
    return Markup(), (table,), reading


_SHOWN = 60
"""Rows of the table of columns: the noise comes first."""

_VERDICTS = {"signal": "signal", "noise": "noise", "rare": "too rare to tell"}


def _inputs(found: Inputs) -> Body:
    def row(one: InputColumn) -> tuple[Text, tuple[str, ...]]:
        told = number(one.coherence), interval(one.shuffled), number(one.score), number(one.samples)
        return text(one.name, 40), (*told, _VERDICTS[one.verdict])

    columns = ("Column", "Coherence", "Labels shuffled", "Deviations above", "Samples", "Carries")
    tables = [Table("Columns, the surest noise first", columns, tuple(map(row, found.columns[:_SHOWN])))]
    if found.constants:
        names = tuple((text(name, 40), ()) for name in found.constants[:_SHOWN])
        tables.append(Table("Constant columns", ("Column",), names))
    reading = (
        f"Of {count(found.total)} columns that layer {text(found.layer, 40).short} sees, "
        f"{count(found.signal)} carry signal, {count(found.noise)} noise alone, {count(found.rare)} are too "
        f"rare to tell, and {count(found.constant)} are constant. The coherence is how far the samples' "
        "gradients agree on the weights of a column, and the interval is what shuffled labels give the same "
        "column. Noise is agreement not above that interval, or below a fiftieth of the strongest column's, "
        "from at least 100 samples; the columns are ranked by the most agreement that they may have."
    )
    return inputs_figure(found), tuple(tables), reading


def _robust(found: RobustStep) -> Body:
    tables = (_whose(found), _survives(found), _clipped(found))
    of_layers = [one for one in found.layers if one.coordinates < one.parameters]
    drawn = (
        f" In {len(of_layers)} of {len(found.layers)} layers coordinates were drawn, at least "
        f"{min(one.coordinates for one in of_layers):,} of a layer: the intervals say how sure that makes it."
        if of_layers
        else " Every coordinate was looked at: the figures are exact."
    )
    reading = (
        "A winsorized mean clips every coordinate of the gradients to what all but the given share of the "
        "samples stay within; the median of three is that of the means of three groups. What many samples "
        "share survives both, what a few own does not. A step is the sum of what the samples add to it: "
        "the share of the memorized ones is read beside their number." + drawn
    )
    return robust_step_figure(found), tuple(table for table in tables if table.rows), reading


def _whose(found: RobustStep) -> Table:
    memorized, suspects = (count / found.samples for count in (found.memorized, found.suspects))
    rows = [
        (text(one.average, 40), _percents(one.memorized) + _percents(one.suspects)) for one in found.steps
    ]
    by_number = (text("by number", 40), (percent(memorized), "", percent(suspects), ""))
    columns = ("Share of the step", "Memorized", "Interval", "Suspects", "Interval")
    return Table("Whose is the step?", columns, (by_number, *rows))


def _percents(share: Estimate) -> tuple[str, str]:
    return percent(share.value), f"{percent(share.low)} to {percent(share.high)}"


def _survives(found: RobustStep) -> Table:
    names = [one.average.removeprefix("winsorized, ") for one in found.averages]
    columns = ("Layer", *(f"{kind}, {name}" for name in names for kind in ("Kept", "Cosine")), "Looked at")
    whole = sum(one.coordinates for one in found.layers)
    parts = [("all layers", found.averages, whole)]
    parts += [(one.name, one.averages, one.coordinates) for one in found.layers]
    rows = tuple(
        (
            text(name, 40),
            (*(number(x.value) for one in own for x in (one.kept, one.cosine)), f"{seen:,}"),
        )
        for name, own, seen in parts
    )
    return Table("What survives of the mean gradient", columns, rows)


def _clipped(found: RobustStep) -> Table:
    rows = tuple(
        (text(one.id, 40), (percent(one.clipped), number(one.memorization), "yes" if one.suspect else "no"))
        for one in found.clipped
    )
    return Table("Clipped most", ("Sample", "Of its gradient", "Memorization", "Suspect"), rows)


def _width(found: CoherentWidth) -> Body:
    rows = tuple(
        (
            text(one.name, 40),
            (
                f"{len(one.energy):,} {one.kind}",
                percent(one.participation),
                f"{len(one.kept):,}",
                f"{number(float(np.median(one.coherence)))} (largest {number(max(one.coherence))})",
            ),
        )
        for one in found.layers
    )
    spread = Table(
        "Where the coherent gradient is", ("Layer", "Width", "Participation", "Hold 90%", "Coherence"), rows
    )
    alone = tuple(
        (
            text(f"{one.share:.0%} of the energy"),
            (f"{one.units:,}", percent(one.accuracy), percent(one.random)),
        )
        for one in found.sub_networks
    )
    measured = Table(
        f"Training accuracy with some units alone; all {found.units:,}: {percent(found.accuracy)}",
        ("Units that hold", "Units", "Accuracy", "As many at random"),
        alone,
    )
    reading = (
        "A unit's coherent energy is what the gradients of samples of one class have in common at its "
        "weights. Participation is the share of the width that would hold it all if each of its units held "
        "the same. The accuracy is measured, with the outputs of all other units zeroed and nothing trained "
        "since. Coherence is that of all pairs of samples at a unit, 0 for none: the median over the units."
    )
    return width_figure(found), (spread, measured), reading


def _decay(found: BackgroundForce) -> Body:
    rows = tuple(
        (
            text(one.name, 40),
            (
                percent(one.coherent),
                f"{one.ratio:.2g}",
                percent(one.lost),
                f"{one.l1_ratio:.2g}",
                percent(one.l1_lost),
            ),
        )
        for one in found.layers
    )
    names = ("Layer", "Coherent", "L2: ‖λw‖ / ‖μ‖", "Decay wins", "L1: ‖λ sign w‖ / ‖μ‖", "Decay wins")
    table = Table(f"Decay against data at λ = {found.l2_at:.2g} (L1: {found.l1_at:.2g})", names, rows)
    reading = (
        "Weights are coherent where their mean gradient over the samples, μ, is more than chance gives. "
        "Decay pulls at w with the force λw (L2) or λ (L1); where that is more than |μ|, decay wins. At the "
        f"λ of the table that is so for {percent(found.lost_incoherent)} of the incoherent and "
        f"{percent(found.lost_coherent)} of the coherent weights. Between {found.l2.low:.1e} and "
        f"{found.l2.high:.1e} (L1: {found.l1.low:.1e} and {found.l1.high:.1e}) it wins over more than half "
        "of the former and less than half of the latter. The gradients are those of this checkpoint: of a "
        "network that has fitted its samples they are small, and the range with them; of one that was "
        "trained long with a decay, the range follows that."
    )
    return decay_figure(found), (table,), reading


def _trajectory(found: Trajectory) -> Body:
    held = any(not isinstance(point.holdout, Skipped) for point in found.points)
    shares = ("Rating", "Training", "Corrected", "Agreement", "Expected", *(["Holdout"] if held else []))
    accuracies = Table(
        "Accuracy by checkpoint",
        ("Checkpoint", *shares, "Loss", "m-coherence", "Learned", "Forgotten"),
        tuple((text(point.checkpoint, 40), _point(point, held)) for point in found.points),
    )
    owned = Table(
        "Share of the mean gradient by kind of sample",
        ("Checkpoint", "Easy", "Typical", "Hard", "Memorized"),
        tuple((text(point.checkpoint, 40), tuple(map(percent, _shares(point)))) for point in found.points),
    )
    sizes = ", ".join(f"{count:,} {kind}" for kind, count in zip(STRATA, found.sizes, strict=True))
    reading = (
        "Training accuracy also rises by memorizing. Corrected counts a label that is likely wrong as the "
        "one that the other samples give, by the checkpoint with the best expected accuracy: memorizing "
        "wrong labels lowers it. Agreement is the mean probability that the others give to the answers: "
        "memorizing any label lowers it. The rating, whose highest place is where to stop, is the first, and "
        f"by as much as right labels are memorized the second. There are {sizes} samples: memorized ones are "
        "more likely labeled so because the network saw them than because of the others, the rest is cut "
        "into thirds. A share below 0 says that these samples pull against the step."
    )
    over_time = tuple(
        Table(
            f"Coherence α\u1d64 of the {kind} by checkpoint",
            (kind.capitalize(), *(text(point.checkpoint, 16).short for point in found.points)),
            tuple((text(one.name, 40), tuple(map(number, one.values))) for one in series),
        )
        for kind, series in (("layers", found.layers), ("classes", found.classes))
    )
    return trajectory_figure(found), (accuracies, owned, *over_time), reading


def _point(point: Point, held: bool) -> tuple[str, ...]:
    holdout = [] if not held else ["–" if isinstance(point.holdout, Skipped) else percent(point.holdout)]
    return (
        *(percent(point.rating), percent(point.accuracy), percent(point.corrected)),
        *(percent(point.agreement), percent(point.expected), *holdout),
        *(number(point.loss), number(point.m_coherence), f"{point.learned:,}", f"{point.forgotten:,}"),
    )


def _shares(point: Point) -> tuple[float, float, float, float]:
    return point.easy, point.typical, point.hard, point.memorized


def _stability(found: Stability) -> Body:
    rows = tuple(
        (
            text(term.checkpoint, 40),
            (
                *(f"{term.steps:,}", number(term.rate), number(term.alpha), number(term.smoothness)),
                *(number(term.lipschitz), number(term.adds), number(term.total), f"{term.log10_bound:.1f}"),
                "–" if isinstance(term.measured, Skipped) else number(term.measured),
            ),
        )
        for term in found.terms
    )
    columns = ("To checkpoint", "Steps", "η", "α", "β", "L", "Adds", "Sum", "log₁₀ bound", "Measured")
    reading = (
        "The gap in loss is at most (L² / m) Σ Π (1 + ηβ) η √(2 (1 − α)), for full-batch gradient descent on "
        "an L-Lipschitz and β-smooth loss. Here L is the largest gradient seen, β what the mean gradient "
        "changed by over what the weights did between two checkpoints, both lower estimates; α, β and η are "
        "taken as constant in between. Sum is the same without the growth Π (1 + ηβ). It never falls; where "
        "α is high, steps add little."
    )
    return stability_figure(found), (Table("Terms of the bound", columns, rows),), reading


BUILDERS: Mapping[str, Callable[[Any], Body]] = {
    "depth": _depth,
    "width": _width,
    "inputs": _inputs,
    "decay": _decay,
    "memory": _memory,
    "robust": _robust,
    "trajectory": _trajectory,
    "stability": _stability,
}
"""By the name of their field in `AuditResults`, in the order of the page."""
