"""Cells that a spreadsheet would run as a formula, made harmless in a way that can be undone.

Ids and labels come from files. A spreadsheet that opens a .csv computes a cell that begins with `=`, `+`, `-`
or `@`, and such a formula can read other files or send data away (CWE-1236). An apostrophe before it makes it
a text: the spreadsheets' own mark. A cell that begins with apostrophes and then such a character gets one
more, so that exactly one is taken away when the cell is read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import pandas as pd

Cell = TypeVar("Cell")

_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
"""Start of a cell that a spreadsheet computes, or of one that was made harmless. The wide forms count too."""
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
"""A plain number, which may begin with a sign: it is no formula."""
_MARK = "'"
"""Makes a cell a text."""


def harmless(cell: Cell) -> Cell | str:
    """Return a cell, with an apostrophe before it if a spreadsheet would compute it."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return _MARK + cell
    return cell


def original(cell: str) -> str:
    """Return the cell from which `harmless` made this one."""
    return cell[1:] if cell.startswith(_MARK) and _FORMULA.match(cell) else cell


def harmless_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are all harmless."""
    texts = [k for k, name in enumerate(table.columns) if not pd.api.types.is_numeric_dtype(table.iloc[:, k])]
    # numbers stay numbers: those below zero begin with a sign
    changed = table.copy()
    for k in texts:
        name = table.columns[k]
        if any(harmless(cell) is not cell for cell in table[name]):
            changed[name] = table[name].astype(object).map(harmless)
    return changed.set_axis([harmless(name) for name in table.columns], axis="columns")


def original_row(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row as it was before its cells were made harmless."""
    return {name: original(cell) for name, cell in row.items()}
