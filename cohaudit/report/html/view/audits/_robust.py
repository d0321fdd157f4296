"""The section on robust averages of the gradient."""

from __future__ import annotations

from cohaudit.report.figures.audits.robust_step import robust_step_figure
from cohaudit.report.html.view._tables import Table, TableRow
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import count, number, percent, percent_interval, text
from cohaudit.results import Estimate, RobustStep, Survival


def build_robust_step(found: RobustStep) -> AuditBody:
    """Return figure, tables and reading of what robust averages change."""
    tables = (_shares(found), _survival(found), _clipped(found))
    reading = (
        "A winsorized mean clips every coordinate of the gradients to the range of all but the given share "
        "of the samples; the median of three is taken over the means of three groups. What many samples "
        "share survives both, what only a few contribute does not. An update is the sum of the samples' "
        "contributions: compare the share of memorized samples in it with their share of the samples. "
        f"{_precision(found)}"
    )
    shown = tuple(table for table in tables if table.rows)
    to_do = "nothing to do" not in found.advice.lower()
    return AuditBody(robust_step_figure(found), shown, reading, to_do)


def _precision(found: RobustStep) -> str:
    sampled = [one for one in found.layers if one.coordinates < one.parameters]
    if not sampled:
        return "All coordinates were measured: the figures are exact."
    fewest = min(one.coordinates for one in sampled)
    return (
        f"In {len(sampled)} of {len(found.layers)} layers a sample of the coordinates was measured, at least "
        f"{count(fewest)} in each: the intervals show the uncertainty."
    )


def _shares(found: RobustStep) -> Table:
    expected = (percent(found.memorized / found.samples), "", percent(found.suspects / found.samples), "")
    rows = [
        (text(one.average, 40), _with_interval(one.memorized) + _with_interval(one.suspects))
        for one in found.steps
    ]
    columns = ("Average", "Memorized", "Interval", "Suspects", "Interval")
    title = "What share of the update comes from memorized samples?"
    return Table(title, columns, ((text("share of the data", 40), expected), *rows))


def _with_interval(share: Estimate) -> tuple[str, str]:
    return percent(share.value), percent_interval(share)


def _survival(found: RobustStep) -> Table:
    averages = [one.average.removeprefix("winsorized, ") for one in found.averages]
    columns = (
        "Layer",
        *(f"{kind}, {average}" for average in averages for kind in ("Length", "Cosine")),
        "Coordinates",
    )
    rows = [_survival_row("all layers", found.averages, sum(one.coordinates for one in found.layers))]
    rows += [_survival_row(one.name, one.averages, one.coordinates) for one in found.layers]
    return Table("What survives of the mean gradient", columns, tuple(rows))


def _survival_row(name: str, survivals: tuple[Survival, ...], coordinates: int) -> TableRow:
    figures = (number(estimate.value) for one in survivals for estimate in (one.kept, one.cosine))
    return text(name, 40), (*figures, count(coordinates))


def _clipped(found: RobustStep) -> Table:
    rows = tuple(
        (text(one.id, 40), (percent(one.clipped), number(one.memorization), "yes" if one.suspect else "no"))
        for one in found.clipped
    )
    return Table("Most clipped samples", ("Sample", "Clipped share", "Memorization", "Suspect"), rows)
