"""Isotonic regression: the closest decreasing step function.

Arrays: N values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def decreasing_steps(part: Array, mass: Array) -> Array:
    """Return the decreasing step function closest to part / mass, in least squares weighted by mass, [N].

    Pool adjacent violators. scipy.optimize.isotonic_regression gives the same to about 1e-14, but pools
    means, not sums, so that the last digits of published audits would change.
    """
    # (sum of part, sum of mass, length) of each step so far
    blocks: list[tuple[float, float, int]] = []
    for own_part, own_mass in zip(part.tolist(), mass.tolist(), strict=True):
        block = (own_part, own_mass, 1)
        # compared by cross-multiplication, which needs no division per step
        while blocks and blocks[-1][0] * block[1] <= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (block[0] + before[0], block[1] + before[1], block[2] + before[2])
        blocks.append(block)
    heights = [block[0] / block[1] for block in blocks]
    return np.repeat(heights, [block[2] for block in blocks])


def decreasing_with(evidence: Array, probability: Array) -> Array:
    """Return the probabilities that decrease with the evidence and are closest to the given ones, [N].

    Args:
        evidence: Evidence of each label, [N].
        probability: Probability that each label is wrong, [N].
    """
    order = np.argsort(evidence, kind="stable")
    fitted = np.empty_like(probability)
    fitted[order] = decreasing_steps(probability[order], np.ones(len(order)))
    return fitted
