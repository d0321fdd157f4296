"""The further audits: one section each, of one form, so that the template lays out any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cohaudit.report._words import Text, interval, number, percent, prose, seconds, text
from cohaudit.report.theory_figures import depth_trend_figure, robust_step_figure
from cohaudit.results import Audit, Estimate, Skipped
from cohaudit.theory import DepthTrend, Memory, RobustStep


@dataclass(frozen=True)
class Table:
    """A table: the first column names, the others are figures."""

    label: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Text, tuple[str, ...]], ...]


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
    "memory": "The optimizer's memory",
    "robust": "Robust averages: whose is the step?",
}


def build_theory(audit: Audit) -> tuple[Section, ...]:
    """Put those further audits that were run into words."""
    found = []
    for name, build in BUILDERS.items():
        result = getattr(audit.theory, name)
        if not isinstance(result, Skipped):
            cost = audit.timings.get(f"audit {name}")
            body = build(result)
            told = "" if cost is None else f"Took {seconds(cost)}."
            found.append(Section(name, TITLES[name], prose(result.advice), *body, told))
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
        f"Samples with nothing in common have {number(found.orthogonal)}, the dashed line: at it, a layer "
        "learns single samples only. Where the ratio rises layer by layer, depth amplifies what they share. "
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


BUILDERS: Mapping[str, Callable[[Any], Body]] = {"depth": _depth, "memory": _memory, "robust": _robust}
"""By the name of their field in `Theory`, in the order of the page."""
