"""A share of samples with the interval that their number gives it."""

from __future__ import annotations

import math

from cohaudit.results import Estimate


def wilson_interval(share: float, samples: int, z: float) -> Estimate:
    """Return a share with its sampling interval (Wilson, JASA 22, 1927).

    The interval treats the samples as independent.

    Args:
        share: The share, in [0, 1].
        samples: Number of samples behind it, above 0.
        z: Half-width of the interval in standard deviations of a normal distribution.
    """
    width = z**2 / samples
    center = (share + width / 2) / (1 + width)
    half = math.sqrt(share * (1 - share) * width + width * width / 4) / (1 + width)
    # the interval's center is not the share itself: at a share of 0 or 1 rounding could exclude it
    return Estimate(share, min(center - half, share), max(center + half, share))
