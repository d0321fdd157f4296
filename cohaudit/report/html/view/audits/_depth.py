"""The section on coherence by depth."""

from __future__ import annotations

from cohaudit.report.figures.audits.depth_trend import depth_trend_figure
from cohaudit.report.html.view._tables import Table
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import interval, number, text
from cohaudit.results import DepthTrend, Estimate, Skipped


def build_depth_trend(found: DepthTrend) -> AuditBody:
    """Return figure, table and reading of the trend over depth."""
    rows = tuple(
        (text(one.name, 40), (number(one.ratio.value), interval(one.ratio), f"{number(one.amplification)}×"))
        for one in found.layers
    )
    columns = ("Layer", "Ratio", "Interval", "Relative to the layer before")
    reading = (
        "The ratio is the gradient energy that all samples share over the rest, α / (1 − α). Samples with "
        f"nothing in common have {number(found.orthogonal)} (dashed line); below it, they pull against "
        f"each other. {_describe_slope(found.slope)} It says nothing about the accuracy on new data."
    )
    table = Table("Coherent over incoherent gradient energy", columns, rows)
    return AuditBody(depth_trend_figure(found), (table,), reading)


def _describe_slope(slope: Estimate | Skipped) -> str:
    if isinstance(slope, Skipped):
        return f"No slope: {slope.reason}. The ratio shows where in the network samples agree most."
    return (
        "From the first to the last layer the ratio changes by a factor of 10 to the power "
        f"{number(slope.value)} (90% interval {interval(slope)}). The slope shows where in the "
        "network samples agree most."
    )
