"""A measurement on the scale of its levels: numbers at their bounds, an interval that never leaves it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cohaudit.report.words import compact
from cohaudit.results import LEVELS, Estimate, Level

_STEP = 0.05
"""The scale begins and ends at a multiple of this: five points."""
_LAST_BAND = 1.25
"""Where the scale ends at least, relative to the bound of its last level, so that its band stays visible."""
_TICK_ROOM = 0.08
"""Room that a number below the scale takes, as a share of the scale on a phone."""


@dataclass(frozen=True)
class Band:
    """The part of the scale that a level takes."""

    level: Level
    width: str
    """Width as a CSS percentage."""


@dataclass(frozen=True)
class Tick:
    """A number below the scale."""

    place: str
    """Its place as a CSS percentage."""
    words: str


@dataclass(frozen=True)
class Gauge:
    """A value and its interval on a scale of levels."""

    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    """Numbers at the ends of the bands, in points or percent."""
    position: str
    """Place of the value, as a CSS percentage; empty where only the interval means something."""
    start: str
    """Where the interval begins, as a CSS percentage."""
    width: str
    """How wide the interval is, as a CSS percentage."""


def build_gauge(value: Estimate, bounds: Sequence[float], unit: str = "") -> Gauge:
    """Return a scale that holds all levels and the whole interval.

    Args:
        value: A share with its interval, such as a gap.
        bounds: Where the second and each later level begins, rising.
        unit: What stands behind each number.
    """
    first = min(0.0, math.floor(value.low / _STEP) * _STEP)
    # without the slack, rounding errors would add a step to a multiple of it
    last = math.ceil(max(value.high, value.value, _LAST_BAND * bounds[-1]) / _STEP - 1e-9) * _STEP
    edges = (first, *bounds, last)

    def place(at: float) -> float:
        return (at - first) / (last - first)

    ticks: list[float] = []
    # the bounds first: an end that is close to one has no number of its own, as the two would overlap
    for tick in (0.0, bounds[-1], last, first, *bounds):
        if all(abs(place(tick) - place(other)) >= _TICK_ROOM for other in ticks):
            ticks.append(tick)
    return Gauge(
        bands=tuple(
            Band(level, f"{max(0.0, place(high) - place(low)):.1%}")
            for level, (low, high) in zip(LEVELS, pairwise(edges), strict=True)
        ),
        ticks=tuple(Tick(f"{place(at):.1%}", f"{compact(100 * at)}{unit}") for at in sorted(ticks)),
        position=f"{place(value.value):.1%}",
        start=f"{place(value.low):.1%}",
        width=f"{place(value.high) - place(value.low):.1%}",
    )
