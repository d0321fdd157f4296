"""The section on answers under noise in the weights."""

from __future__ import annotations

from markupsafe import Markup

from cohaudit.report.html.view._tables import Table
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import interval, percent, text
from cohaudit.results import Flatness


def build_flatness(found: Flatness) -> AuditBody:
    """Return table and reading of the answers that stay; there is no figure."""
    rows = tuple((text(percent(one.size)), (percent(one.unchanged),)) for one in found.sizes)
    reading = (
        f"Noise is a share of each weight tensor's own size; {found.samples:,} samples were answered under "
        f"{found.draws} draws of each. On average over the sizes, {percent(found.unchanged.value)} of the "
        f"answers stay ({interval(found.unchanged)}). Of two networks that fit the same data, the one whose "
        "answers stay is more often the better one on new data; how often, cohaudit diff says."
    )
    table = Table("Answers that stay", ("Noise", "Unchanged"), rows)
    return AuditBody(Markup(), (table,), reading)
