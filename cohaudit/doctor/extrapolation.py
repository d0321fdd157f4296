"""How long a scan will take, and how much memory, from scans of a few of its samples.

Every stage of a scan is timed on two subsamples. A straight line through both is drawn out to all samples:
the gradient pass, the judgment and the evidence take a fixed time and a time per sample. The comparison of
all pairs grows with the square. Where the second subsample is the whole set, nothing is drawn out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SQUARED = frozenset({"compare the samples"})
"""Stages that look at every pair of samples."""
GRADIENTS = "measure the gradients"


@dataclass(frozen=True)
class Trial:
    """A scan of some samples.

    Attributes:
        samples: How many.
        seconds: Stage → time.
        peak: Most bytes of memory that the process held by its end; None where that is not known.
    """

    samples: int
    seconds: Mapping[str, float]
    peak: int | None


@dataclass(frozen=True)
class Forecast:
    """What a scan of all samples is expected to take.

    Attributes:
        seconds: Stage → time.
        peak: Most bytes of memory; None where that is not known.
        measured: Whether the trial held all samples, so that nothing was drawn out.
    """

    seconds: Mapping[str, float]
    peak: int | None
    measured: bool

    @property
    def total(self) -> float:
        """All stages together, in seconds."""
        return sum(self.seconds.values())


def expect(small: Trial, large: Trial, samples: int) -> Forecast:
    """Draw two trials out to all samples.

    Args:
        small: The first one.
        large: One with at least as many samples.
        samples: N of the scan.
    """
    first = small if small.samples < large.samples else Trial(0, {}, None)
    seconds = {}
    for stage, taken in large.seconds.items():
        power = 2 if stage in SQUARED else 1
        sizes = (count**power for count in (first.samples, large.samples, samples))
        seconds[stage] = drawn_out(first.seconds.get(stage, 0.0), taken, *sizes)
    peak = large.peak
    if first.peak is not None and large.peak is not None:
        peak = int(drawn_out(first.peak, large.peak, first.samples, large.samples, samples))
    return Forecast(seconds, peak, large.samples == samples)


def drawn_out(before: float, after: float, small: float, large: float, size: float) -> float:
    """Return what comes at `size` of a quantity that is `before` at `small` and `after` at `large`.

    A quantity that falls is noise: it stays at what it was last. One that would be below nothing at size 0
    grows in proportion.

    Args:
        before: At the smaller size.
        after: At the larger one.
        small: Size.
        large: Size, above `small`.
        size: At least `large`.
    """
    slope = min(max(0.0, (after - before) / (large - small)), after / large)
    return after + slope * (size - large)
