"""The part of an audit's section that differs from audit to audit."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from cohaudit.report.html.view._tables import Table


@dataclass(frozen=True)
class AuditBody:
    """Figure, tables and how to read them."""

    figure: Markup
    """SVG; empty for none."""
    tables: tuple[Table, ...]
    reading: str
    to_do: bool = False
    """Whether the advice asks for something to be done."""
