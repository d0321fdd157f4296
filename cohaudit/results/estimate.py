"""A measured number with its interval, and the reason in place of a number that was not measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """A measurement that was not made, with the reason."""

    name: str
    """What was skipped: a layer, a parameter, or a section of the audit."""
    reason: str
    """Why, in words that the user can act on."""


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval, in the unit of the number."""

    value: float
    """Point estimate."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
