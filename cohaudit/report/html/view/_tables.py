"""How many rows of a table stand on the page: one of many classes and layers is to stay small."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from cohaudit.report.words import Text, count

MOST_ROWS = 150
"""Most rows of a table; audit.json has all."""

_MOST_OF_THEORY = 100
"""Most rows of a table of the further audits, which have up to ten tables of layers."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Table:
    """A table: the first column names, the others are figures."""

    label: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Text, tuple[str, ...]], ...]
    note: str = ""
    """Which rows are left out; empty when none."""


def cut(rows: tuple[Row, ...], most: int = MOST_ROWS) -> tuple[tuple[Row, ...], str]:
    """Keep the first and the last rows of a table that goes from one end of a network to the other.

    Args:
        rows: All of them, in order.
        most: How many to keep.

    Returns:
        The rows that are shown, and in words which are not; empty when all are.
    """
    if len(rows) <= most:
        return rows, ""
    first = rows[: most // 2]
    last = rows[len(rows) - most // 2 :]
    left_out = len(rows) - len(first) - len(last)
    return (
        first + last,
        f"The first and the last {most // 2} rows; {count(left_out)} between them are in audit.json.",
    )


def shortened(table: Table) -> Table:
    """Return a table of a further audit as it is shown: its first and its last rows where it is long."""
    rows, note = cut(table.rows, _MOST_OF_THEORY)
    return replace(table, rows=rows, note=note)
