"""Tables of the optional audits, and how many rows of any table stand on the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from cohaudit.report.words import Text, count

MAX_TABLE_ROWS = 150
"""Rows of a table of layers or classes at most; audit.json has all."""
_MAX_AUDIT_ROWS = 100
"""Rows of a table of an optional audit at most: up to ten tables have a row per layer."""

Row = TypeVar("Row")
TableRow = tuple[Text, tuple[str, ...]]
"""A name, and its figures."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names and whose other columns are figures."""

    label: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""
    """Which rows are left out; empty when none is."""


def first_and_last(rows: tuple[Row, ...], limit: int = MAX_TABLE_ROWS) -> tuple[tuple[Row, ...], str]:
    """Shorten a table that goes from one end of a network to the other: both ends matter most.

    Args:
        rows: All rows, in order.
        limit: Number of rows to show.

    Returns:
        The rows to show, and a sentence on those left out; empty when none is.
    """
    if len(rows) <= limit:
        return rows, ""
    # The middle of a deep network repeats; its ends differ.
    half = limit // 2
    left_out = count(len(rows) - 2 * half)
    note = f"Only the first and the last {half} rows are shown; {left_out} more are in audit.json."
    return rows[:half] + rows[-half:], note


def shortened(table: Table) -> Table:
    """Return a table of an optional audit with its first and last rows only, when it is long."""
    rows, note = first_and_last(table.rows, _MAX_AUDIT_ROWS)
    return replace(table, rows=rows, note=note)
