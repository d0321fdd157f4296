"""Files of results: JSON, and rows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""What was measured once: name → figure."""


def read_json(path: Path) -> Any:
    """Return the content of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if it does not exist."""
    rows: list[Row] = read_json(path) if path.exists() else []
    return rows


def write_json(path: Path, content: Any) -> None:
    """Write a file, an entry a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file, a whole row a line: changes of single rows then show as single lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(row_lines(rows) + "\n", encoding="utf-8")


def row_lines(rows: Iterable[Row]) -> str:
    """Return rows as JSON, a row a line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"


def replace_rows(rows: Iterable[Row], new: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return the rows followed by new ones, without the old rows that agree with the new ones in the keys.

    Args:
        rows: Old rows.
        new: Rows that agree with each other in the keys; at least one.
        keys: Names of the figures that tell what a row is about.
    """
    subject = [new[0][key] for key in keys]
    return [row for row in rows if [row[key] for key in keys] != subject] + list(new)
