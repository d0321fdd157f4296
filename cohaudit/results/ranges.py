"""Types for the numbers of an audit that have a range: a field says `Proportion`, the schema says 0 to 1.

A type checker sees plain numbers and texts. Only the JSON Schema reads the ranges: a scan computes within
them, and float rounding must not make an audit unreadable that the same program wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """The smallest and largest value of a number, both included."""

    low: float
    """Smallest value."""
    high: float | None = None
    """Largest value; None: no limit."""


@dataclass(frozen=True)
class Pattern:
    """The form of a text."""

    regex: str
    """Regular expression that the text matches."""


Count = Annotated[int, Range(0)]
"""A whole number, 0 or more."""
NonNegative = Annotated[float, Range(0)]
"""A number, 0 or more."""
Proportion = Annotated[float, Range(0, 1)]
"""A share, in [0, 1]."""
SignedProportion = Annotated[float, Range(-1, 1)]
"""A difference of two shares, in [-1, 1]."""
