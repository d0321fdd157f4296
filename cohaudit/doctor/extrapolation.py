"""How long a scan will take, and how much memory, extrapolated from scans of a few of its samples.

Every stage of a scan is timed on two subsamples. A straight line through both is extended to all samples: the
pass over them, the judgment and the evidence take a fixed time and a time per sample. Comparisons look at
every pair of few samples, and at few pairs of each of many. What is done for single gradients grows with
their number. If the second subsample is the whole data, nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cohaudit.analysis.near_duplicates import EXACT_SAMPLES
from cohaudit.pipeline.progress import COMPARE_GRADIENTS, COMPARE_SAMPLES, MEASURE_DRAWN


@dataclass(frozen=True)
class Trial:
    """A scan of some samples.

    Attributes:
        samples: Number of samples.
        seconds: Stage → its time.
        peak: Most bytes of memory that the process had held by its end; None if unknown.
        gradients: Samples whose gradients were measured one by one; None for all.
    """

    samples: int
    seconds: Mapping[str, float]
    peak: int | None
    gradients: int | None = None


@dataclass(frozen=True)
class Forecast:
    """What a scan of all samples is expected to take.

    Attributes:
        seconds: Stage → its time.
        peak: Most bytes of memory; None if unknown.
        measured: Whether the trial held all samples, so that nothing was extrapolated.
    """

    seconds: Mapping[str, float]
    peak: int | None
    measured: bool

    @property
    def total(self) -> float:
        """Time of all stages together, in seconds."""
        return sum(self.seconds.values())


def extrapolate(small: Trial, large: Trial, samples: int, gradients: int | None = None) -> Forecast:
    """Extrapolate two trials to all samples.

    Args:
        small: The first trial.
        large: A trial with at least as many samples; if it has as many, all grows in proportion.
        samples: Samples of the whole scan.
        gradients: Samples whose gradients it will measure one by one; None for all.
    """
    # of two trials of one size, the origin takes the place of the first: all grows in proportion
    first = small if small.samples < large.samples else Trial(0, {}, None)
    seconds = {}
    for stage, last in large.seconds.items():
        sizes = (
            _size(stage, first.samples, first.gradients),
            _size(stage, large.samples, large.gradients),
            _size(stage, samples, gradients),
        )
        seconds[stage] = extrapolate_value(first.seconds.get(stage, 0.0), last, sizes)
    peak = large.peak
    # without a first value there is no line: the larger trial's peak is the best that is known
    if first.peak is not None and large.peak is not None:
        peak = int(extrapolate_value(first.peak, large.peak, (first.samples, large.samples, samples)))
    return Forecast(seconds, peak, large.samples == samples)


def _size(stage: str, samples: int, gradients: int | None) -> int:
    """Return what a stage's time is in proportion to, beyond what it takes in any case."""
    if stage == MEASURE_DRAWN and gradients is not None:
        return gradients
    # all pairs of gradients are compared where all are measured, and there are few
    all_pairs = stage == COMPARE_SAMPLES or (stage == COMPARE_GRADIENTS and gradients is None)
    return samples * min(samples, EXACT_SAMPLES) if all_pairs else samples


def extrapolate_value(before: float, after: float, sizes: tuple[float, float, float]) -> float:
    """Return the value at the third size of a quantity that was measured at the first two.

    A quantity that falls is noise: it stays at its last value. One that a straight line would take below zero
    at size 0 grows in proportion to the size.

    Args:
        before: Value at the first size.
        after: Value at the second size.
        sizes: The three sizes, the first below the second, the second at most the third.
    """
    small, large, size = sizes
    if small == large:
        return after * size / large if large else after
    slope = min(max(0.0, (after - before) / (large - small)), after / large)
    return after + slope * (size - large)
