"""Cosines between the classes' mean gradients, and how far they are from those of other samples of the kind.

The cosine of two means of few gradients errs in two ways. It depends on which samples were drawn, which the
jackknife tells: leave out one sample after the other. And it is too close to 0, because noise lengthens a
mean: of ‖S‖², with S a class's sum of m gradients, only ‖S‖² − Σ‖g_i‖² comes from pairs of different
samples. Two classes of the same mean had a cosine of 0.30 by five samples each.

Arrays: N samples, C classes, D numbers per sketch. Nothing here knows a model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.coherence import Gradients
from cohaudit.results import ClassCosines, Skipped

Array = NDArray[np.float64]


MAX_CLASSES = 100
"""Classes up to which there is a table of all pairs: of 1,000, half a million numbers that nobody reads would
be most of the audit."""


def too_many_classes(classes: int) -> Skipped | None:
    """Return why there is no table of all pairs of so many classes; None if there is one."""
    if classes <= MAX_CLASSES:
        return None
    return Skipped("class × class cosines", f"{classes:,} classes have {classes**2:,} of them")


def class_cosines(gram: Array, error: float, sampling: Array) -> ClassCosines | Skipped:
    """Return the cosines between the classes' mean gradients.

    Args:
        gram: Inner products of the classes' gradient sums, [C, C].
        error: Standard error of one cosine from sketching.
        sampling: Their error as cosines of other samples of the kind, [C, C]; see `sampling_error`.
    """
    cosines = _cosines(gram)
    if cosines is None:
        return Skipped("class × class cosines", "every gradient is zero")
    return ClassCosines(_rows(cosines), error, _rows(sampling))


def _cosines(gram: Array) -> Array | None:
    norms = np.sqrt(np.diag(gram))
    if not (norms > 0).any():
        return None
    # a class without a gradient has cosine 0 with all others, and 1 with itself
    safe = np.where(norms > 0, norms, 1)
    cosines: Array = np.clip(gram / np.outer(safe, safe), -1, 1)
    np.fill_diagonal(cosines, 1.0)
    return cosines


def _rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def sampling_error(gram: Array, classes: list[Gradients], pair_shares: Array) -> Array:
    """Return the root mean square error of each cosine, as that of the means over all samples of a kind.

    It is the root of the jackknife's variance over the samples of both classes, plus the square of how far
    noise has pulled the cosine to 0: with r the share of ‖S‖² that pairs of different samples give, the
    product of the means' lengths is √(r_a r_b) of what it seems.

    Args:
        gram: Inner products of the classes' gradient sums, [C, C].
        classes: Sketched gradients of each class's samples, [C].
        pair_shares: (‖S‖² − Σ‖g_i‖²) / ‖S‖² of each class, at most 1; 0 or less if its samples have nothing
            in common, or if it has fewer than two, [C].

    Returns:
        The errors, 0 on the diagonal, 1 at most for a cosine of 0, [C, C].
    """
    cosines = _cosines(gram)
    if cosines is None:
        return np.zeros_like(gram)
    directions = [_direction(one) for one in classes]
    variance = np.stack([_jackknife(one, np.stack(directions)) for one in classes])
    size = np.abs(cosines)
    share = np.sqrt(np.clip(pair_shares, 0, 1))
    # where nothing is known of a mean's length, its cosine may be up to 1
    seen = np.outer(share, share)
    full = np.divide(size, seen, out=np.ones_like(size), where=seen > size)
    error: Array = np.sqrt(variance + variance.T + np.square(full - size))
    np.fill_diagonal(error, 0.0)
    return error


def _total(own: Gradients) -> Array:
    """Return the sum of a class's sketches on their common scale, [D]."""
    return own.told() if own.total is None else own.total / own.largest


def _direction(own: Gradients) -> Array:
    """Return the sum of a class's sketches, scaled to length 1, [D]; zeros if it is zero."""
    total = _total(own)
    return total / (float(np.linalg.norm(total)) or 1.0)


def _jackknife(own: Gradients, directions: Array) -> Array:
    """Return the variance of the cosines of a class's sum with all directions, over its own samples, [C]."""
    m = own.samples
    if m < 2 or not len(own):
        return np.zeros(len(directions))
    total = _total(own)
    inner = directions @ total
    square = float(total @ total)
    # where the sum is known, leaving out one of the samples that a member stands for; else the member
    known = own.total is not None
    taken = np.ones(len(own)) if known else own.weights
    counts = own.weights if known else np.ones(len(own))
    center = inner / (float(np.sqrt(square)) or 1.0)
    first: Array = np.zeros(len(directions))
    second: Array = np.zeros(len(directions))
    for rows, block in own.blocks():
        # the sum without a sample: its products with the directions, and its length
        out = block * taken[rows, None]
        rest = np.maximum(square - 2 * out @ total + np.square(out).sum(1), 0)
        left = (inner - out @ directions.T) / np.sqrt(np.where(rest > 0, rest, np.inf))[:, None]
        # from the cosine itself: a sample that hardly counts adds nothing, however many it stands for
        first += counts[rows] @ (left - center)
        second += counts[rows] @ np.square(left - center)
    number = m if known else len(own)
    spread = np.maximum(second / number - np.square(first / number), 0)
    variance: Array = (number - 1) * spread
    return variance
