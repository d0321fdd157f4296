"""The section on the input columns."""

from __future__ import annotations

from cohaudit.report.figures.audits.inputs import inputs_figure
from cohaudit.report.html.view._tables import Table
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import Text, count, interval, number, text
from cohaudit.results import InputColumn, Inputs

_MAX_LISTED_COLUMNS = 60
"""Columns listed at most; noise comes first, so the ones to act on are among them."""
_VERDICT_WORDS = {"signal": "signal", "noise": "noise", "rare": "too rare to tell"}
"""Verdict of audit.json → as the page writes it."""


def build_inputs(found: Inputs) -> AuditBody:
    """Return figure, tables and reading of the input columns."""
    columns = ("Column", "Coherence", "With labels shuffled", "Deviations above", "Samples", "Carries")
    rows = tuple(map(_row, found.columns[:_MAX_LISTED_COLUMNS]))
    tables = [Table("Columns, most certain noise first", columns, rows)]
    if found.constants:
        names = tuple((text(name, 40), ()) for name in found.constants[:_MAX_LISTED_COLUMNS])
        tables.append(Table("Constant columns", ("Column",), names))
    reading = (
        f"Layer {text(found.layer, 40).short} sees {count(found.total)} columns: {count(found.signal)} "
        f"carry signal, {count(found.noise)} only noise, {count(found.rare)} are too rare to tell, "
        f"{count(found.constant)} are constant. The coherence of a column is how far the samples' "
        "gradients agree on its weights; the interval is what the same column gets with shuffled labels. A "
        "column is noise when its coherence is not above that interval, or is below a fiftieth of the "
        "strongest column's, on at least 100 samples. Columns are ranked by the upper end of their "
        "coherence."
    )
    return AuditBody(inputs_figure(found), tuple(tables), reading, to_do=bool(found.noise or found.constant))


def _row(one: InputColumn) -> tuple[Text, tuple[str, ...]]:
    figures = (number(one.coherence), interval(one.shuffled), number(one.score), number(one.samples))
    return text(one.name, 40), (*figures, _VERDICT_WORDS[one.verdict])
