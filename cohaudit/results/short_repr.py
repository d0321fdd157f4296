"""One line for every result: what a notebook or a debugger prints of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.wording import number

MAX_LINE = 160
"""Characters of a line at most: what a cell shows without wrapping twice."""
MAX_VALUE = 60
"""Characters of one value at most."""


def short_repr(result: Any) -> str:
    """Return a result in one line: its fields in order, long ones cut, and counts in place of lists.

    Args:
        result: An instance of a dataclass.
    """
    if isinstance(result, Estimate):
        return f"Estimate({number(result.value)}, {number(result.low)} to {number(result.high)})"
    if isinstance(result, Skipped):
        return f"Skipped({_cut(f'{result.name}: {result.reason}', MAX_LINE)})"
    parts = [f"{field.name}={_short(getattr(result, field.name))}" for field in dataclasses.fields(result)]
    return f"{type(result).__name__}({_cut(', '.join(parts), MAX_LINE)})"


def use_short_reprs(kinds: Iterable[type]) -> None:
    """Give dataclasses this representation, unless they define one of their own.

    Args:
        kinds: The classes.
    """
    for kind in kinds:
        # the one that the decorator makes is wrapped, to stop at a recursion
        if dataclasses.is_dataclass(kind) and hasattr(vars(kind).get("__repr__"), "__wrapped__"):
            kind.__repr__ = short_repr  # type: ignore[method-assign]


def _short(value: Any) -> str:
    match value:
        case float():
            return number(value)
        case pd.DataFrame():
            return f"<{len(value):,} rows>"
        case tuple() | list() | Mapping():
            return f"<{len(value):,}>" if value else "<none>"
        case _:
            return _cut(repr(value), MAX_VALUE)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
