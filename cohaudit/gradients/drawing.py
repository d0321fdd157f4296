"""Which samples' gradients are measured one by one, and what a sum over them says of all.

The norm of a sample's gradient is nearly proportional to the norm of its residual, its *scale*, which a
forward pass tells. Drawn with a probability in proportion to the scale's square, a few samples give the sum
of all squared norms (`python -m benchmarks.gradients.energy`); drawn evenly, they miss the few samples that
have most of it.

Arrays: N samples, n of them drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.precision import SMALLEST_FLOAT64

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """A draw of samples.

    Attributes:
        indices: The samples, rising, [n].
        weight: How many samples each of them stands for, 1 / its probability, at least 1, [n].
    """

    indices: Integers
    weight: Array


def draw_by_scale(scale: Array, labels: Integers, size: int, seed: int, bound: Array | None = None) -> Draw:
    """Draw samples, half by their share of all squared scales, half by their share within their class.

    Where bounds of the norms are known, shares are half of the squared scales, half of the squared bounds: a
    network that has learned little has norms that depend more on the inputs than on the residuals.

    Systematic sampling without replacement (Madow, Annals of Mathematical Statistics 1949) along the list of
    samples in class order: every class gets its due, up to one sample.

    Args:
        scale: Norm of each residual, [N].
        labels: Class of each sample, [N].
        size: Samples to draw, on average; fewer where fewer have a residual.
        seed: Seed of the draw.
        bound: A bound of each gradient's norm, [N]; zeros or None if there is none.
    """
    squares = _share_of_squares(scale)
    if bound is not None and np.isfinite(bound).all() and bound.any():
        squares = (squares + _share_of_squares(bound)) / 2
    if not squares.any():
        # nothing tells the samples apart: all are fitted to the last bit
        squares = np.full(len(scale), 1 / len(scale))
    probability = _probabilities(squares, labels, size)
    order = np.argsort(labels, kind="stable")
    start = np.random.default_rng(seed).uniform()
    # a sample is drawn where the running sum passes a whole number
    passed = np.floor(np.cumsum(probability[order]) + start)
    chosen = np.zeros(len(squares), dtype=bool)
    chosen[order] = np.diff(passed, prepend=0.0) > 0
    # by rounding, the running sum may pass a whole number a little late
    chosen |= probability >= 1
    indices = np.flatnonzero(chosen & (probability > 0))
    return Draw(indices, 1 / probability[indices])


def _share_of_squares(lengths: Array) -> Array:
    """Return the squares of some lengths over their sum, [N]; zeros if all are zero."""
    # divided by the largest first: the squares of fitted samples' scales are zero in float64
    squares = np.square(lengths / max(float(lengths.max(initial=0.0)), SMALLEST_FLOAT64))
    share: Array = squares / max(float(squares.sum()), SMALLEST_FLOAT64)
    return share


def _probabilities(squares: Array, labels: Integers, size: int) -> Array:
    """Return the probability of each sample to be drawn, [N], from its share of all."""
    of_class = np.bincount(labels, squares)
    present = np.count_nonzero(of_class) or 1
    own = of_class[labels]
    share = np.divide(squares, own, out=np.zeros_like(squares), where=own > 0) / present
    wanted = (squares + share) / 2
    # those that would be drawn more than once are certain, and leave less for the others
    sure = np.zeros(len(squares), dtype=bool)
    probability: Array = np.zeros(len(squares))
    while True:
        rest = wanted[~sure].sum()
        left = size - np.count_nonzero(sure)
        if not rest > 0 or left <= 0:
            return probability
        probability[~sure] = wanted[~sure] * (left / rest)
        above = ~sure & (probability >= 1)
        probability[above] = 1.0
        if not above.any():
            return probability
        sure |= above


def relative_error(values: Array, weight: Array) -> Array:
    """Return the relative standard error of Σ_i w_i x_i as an estimate of the sum over all samples, [any].

    Hájek's approximation for draws of unequal probability (Annals of Mathematical Statistics 1964): with
    e_i = w_i x_i, u_i = 1 − 1/w_i and ē the mean of e weighted by u, n/(n−1) Σ u_i (e_i − ē)².

    Args:
        values: x of the samples drawn, at least 0, [n, any].
        weight: w, at least 1, [n].
    """
    part = np.maximum(1 - 1 / weight, 0)
    total = weight @ values
    count = np.count_nonzero(part)
    if count == 0:
        return np.zeros(values.shape[1])
    if count == 1:
        # nothing tells how far off a single sample is that stands for others
        alone = (part * weight) @ values
        return np.divide(alone, total, out=np.zeros_like(total), where=total > 0)
    # relative to the total before squaring: the squares of fitted samples' energies underflow
    each = np.divide(weight[:, None] * values, total, out=np.zeros_like(values), where=total > 0)
    mean = part @ each / part.sum()
    error: Array = np.sqrt(count / (count - 1) * (part @ np.square(each - mean)))
    return error
