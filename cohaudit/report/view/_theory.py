"""The further audits: one section each, of one form, so that the template lays out any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cohaudit.report._words import Text, count, interval, number, percent, prose, seconds, text
from cohaudit.report.theory_figures import depth_trend_figure, inputs_figure
from cohaudit.results import Audit, Skipped
from cohaudit.theory import DepthTrend, InputColumn, Inputs, Memory


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
    "inputs": "Input columns: which carry signal?",
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


BUILDERS: Mapping[str, Callable[[Any], Body]] = {"depth": _depth, "memory": _memory, "inputs": _inputs}
"""By the name of their field in `Theory`, in the order of the page."""
