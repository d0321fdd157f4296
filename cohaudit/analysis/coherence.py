"""Coherence of per-sample gradients: point values from exact sums, intervals from resampled sketches.

Definitions (Chatterjee & Zielinski, arXiv 2203.10036): for m gradients g_i with mean μ,
α = ‖μ‖² / mean‖g_i‖², m-coherence = m·α, and without each sample's own share
α_u = (‖Σg_i‖² − Σ‖g_i‖²) / ((m − 1) Σ‖g_i‖²). At fixed m, each increases with each other one.

Arrays: N samples, L layers, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Coherence, Estimate, Skipped

Array = NDArray[np.float64]
Sketches = NDArray[np.float32]

SKETCHES_PER_BLOCK = 4096
"""Sketches in memory at once, if they are in a file: 4,096 rows are a few MB, enough for fast products."""

RESAMPLES_PER_BATCH = 25
"""Resamples drawn at once: each takes one weight per sample in memory."""

SKETCH_ROUNDING = 1e-6
"""What is left of a sum, over the lengths that were added, from which on it may be rounding of float32."""

MIN_RESAMPLED = 5
"""With fewer samples a resample repeats the few pairs there are (two samples: always the same one), and its
spread means nothing: the interval is then the whole range."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are computed.

    Attributes:
        resamples: Number of bootstrap resamples.
        confidence: Nominal coverage of the interval, 0 to 1.
        seed: Seed of the resampling.
    """

    resamples: int
    confidence: float
    seed: int


def pairwise_coherence(square_of_sum: float, sum_of_squares: float, samples: int) -> float:
    """Return α_u, the mean inner product of two different samples' gradients over the mean squared norm.

    Args:
        square_of_sum: ‖Σ g_i‖².
        sum_of_squares: Σ ‖g_i‖², above 0.
        samples: m, at least 2.
    """
    return (square_of_sum / sum_of_squares - 1) / (samples - 1)


def coherence(
    name: str, square_of_sum: float, sum_of_squares: float, samples: int, deviations: Array
) -> Coherence | Skipped:
    """Return the three coherences of a set of gradients, with their intervals.

    Args:
        name: Name of the set, for the reason if it is skipped.
        square_of_sum: ‖Σ g_i‖².
        sum_of_squares: Σ ‖g_i‖².
        samples: m.
        deviations: Lower and upper end of the interval of α_u, relative to its value, [2].

    Returns:
        The coherence; skipped for a single sample, and if every gradient is zero.
    """
    if samples < 2:
        return Skipped(f"coherence of {name}", f"coherence needs at least two samples, found {samples}")
    if not sum_of_squares > 0:
        return Skipped(f"coherence of {name}", "every gradient is zero")
    # above 1 only where Σ‖g_i‖² is an estimate, or by rounding
    value = min(pairwise_coherence(square_of_sum, sum_of_squares, samples), 1.0)
    # −1 / (m − 1) is reached if the gradients sum to zero, 1 if all are equal
    low, high = np.clip(value + deviations, -1 / (samples - 1), 1)
    # a bootstrap interval can miss its own point value: it is widened to contain it
    pairwise = Estimate(value, float(min(low, value)), float(max(high, value)))
    m_coherence = _map(pairwise, 1, samples - 1)
    return Coherence(samples, _map(m_coherence, 0, 1 / samples), m_coherence, pairwise)


def with_energy_error(deviations: Array, level: float, error: float) -> Array:
    """Return an interval's ends, relative to its value, that also hold the error of Σ‖g_i‖².

    α_u + 1/(m − 1) is in inverse proportion to Σ‖g_i‖². The two errors are independent.

    Args:
        deviations: Lower and upper end relative to the value of α_u, [2].
        level: α_u + 1/(m − 1).
        error: Relative error of Σ‖g_i‖², at the interval's confidence.
    """
    # where the bootstrap misses the value on one side, the error is all that reaches beyond it there
    low, high = min(float(deviations[0]), 0.0), max(float(deviations[1]), 0.0)
    return np.array([-np.hypot(low, level * error), np.hypot(high, level * error)])


def _map(estimate: Estimate, offset: float, factor: float) -> Estimate:
    """Return offset + factor · estimate, for a factor above 0."""
    return Estimate(
        value=offset + factor * estimate.value,
        low=offset + factor * estimate.low,
        high=offset + factor * estimate.high,
    )


@dataclass(frozen=True)
class Gradients:
    """Sketches of some samples' gradients, block by block, on a common scale that float32 can square.

    They are all samples of a set, or were drawn from it with unequal probabilities.

    Attributes:
        sketches: Sketched gradients of the residuals scaled to length 1, [rows, columns]; possibly in a file.
        scale: Length of each residual, [rows].
        members: Rows of the samples, [n].
        weight: How many samples of the set each of them stands for, [n]; None if they are the set.
        size: Number of samples in the set, m; None if they are the set.
        total: Sketch of the sum over the whole set, [columns]; None if only the members tell it.
    """

    sketches: Sketches
    scale: Array
    members: NDArray[np.int64]
    weight: Array | None = None
    size: int | None = None
    total: Array | None = None

    def __len__(self) -> int:
        return len(self.members)

    @property
    def samples(self) -> int:
        """Number of samples in the set, m."""
        return len(self.members) if self.size is None else self.size

    @property
    def weights(self) -> Array:
        """How many samples each member stands for, [n]."""
        return np.ones(len(self.members)) if self.weight is None else self.weight

    @property
    def largest(self) -> float:
        """The common scale: the largest length of a residual."""
        return float(self.scale[self.members].max(initial=0)) or 1.0

    def blocks(self) -> Iterator[tuple[slice, Sketches]]:
        """Yield the scaled sketches, some samples at a time, with their positions among the members."""
        largest = self.largest
        for start in range(0, len(self.members), SKETCHES_PER_BLOCK):
            own = self.members[start : start + SKETCHES_PER_BLOCK]
            # relative to the largest: gradients of well fitted samples are so small that float32 squares
            # vanish
            relative = (self.scale[own] / largest).astype(np.float32)
            yield slice(start, start + len(own)), np.asarray(self.sketches[own]) * relative[:, None]

    def told(self) -> Array:
        """Return the sum over the set as the members tell it, on the common scale, [columns]."""
        total: Array = np.zeros(self.sketches.shape[1])
        for rows, block in self.blocks():
            total += self.weights[rows] @ block.astype(np.float64)
        return total


@dataclass(frozen=True)
class _Resample:
    """Some resamples of a set of m samples, of which n are known.

    Attributes:
        times: How often each known sample counts in a sum, float32 [resamples, n].
        repeated: How often its own square counts in the square of that sum, [resamples, n].
        samples: Samples in each resample, as the sums count them, [resamples].
        own_pairs: Pairs of a sample with itself or a copy, as the squares of the sums count them,
            [resamples].
    """

    times: Sketches
    repeated: Array
    samples: Array
    own_pairs: Array


def _whole(gradients: Gradients) -> _Resample:
    """Return the set itself as its only resample."""
    weight = gradients.weights[None]
    # where the sum is known, each of the samples that a member stands for has its own square once
    repeated = weight if gradients.total is not None else np.square(weight)
    m = np.array([float(gradients.samples)])
    return _Resample(weight.astype(np.float32), repeated, m, m)


def _resample(gradients: Gradients, count: int, generator: np.random.Generator) -> _Resample:
    """Return some resamples: m samples drawn with replacement from the set."""
    n = len(gradients)
    m = gradients.samples
    weight = gradients.weight
    if weight is None:
        # counts are small integers, exact in float32, and the products then run in float32
        times = generator.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float32)
        squares = np.square(times).astype(np.float64)
        return _Resample(times, squares, np.full(count, float(n)), squares.sum(1))
    if gradients.total is None:
        # what is not known of the set varies with the draw: the members are drawn again
        weighted = generator.multinomial(n, np.full(n, 1 / n), size=count) * weight
        all_of_them = np.full(count, float(m))
        return _Resample(weighted.astype(np.float32), np.square(weighted), all_of_them, all_of_them)
    # each member stands for `weight` samples, which are drawn as often as by chance
    drawn = generator.poisson(weight, size=(count, n)).astype(np.float64)
    # Σ over these samples of the square of how often each was drawn, on average
    repeated = drawn + drawn * (drawn - 1) / weight
    # relative to the weights' sum: a few samples that hardly count may stand for many
    share = m / weight.sum()
    return _Resample(drawn.astype(np.float32), repeated, share * drawn.sum(1), share * repeated.sum(1))


def interval_deviations(gradients: Gradients, columns: Sequence[slice], resampling: Resampling) -> Array:
    """Return the bootstrap interval of α_u on several parts of the gradient, relative to the point value.

    A resample draws m samples with replacement, sample i w_i times. Pairs of a sample with its own copies
    would count as perfect agreement and are left out:
    α_u* = (‖Σ w_i g_i‖² − Σ w_i² ‖g_i‖²) / (m² − Σ w_i²) / mean(w_i ‖g_i‖²).
    Where only some samples of the set were drawn, those stand for others in proportion to their weight, and
    the sum over the set, if it is known, is moved by Σ (w_i − weight_i) g_i.

    Args:
        gradients: Sketched gradients of m samples, or of some that were drawn from them.
        columns: Columns of each part of the sketch.
        resampling: Resamples, confidence and seed.

    Returns:
        Lower and upper deviation of each part, then of the whole gradient, [parts + 1, 2]. ±∞ if fewer than
        `MIN_RESAMPLED` are known, or if a part has no gradient. The weights of the network depend on these
        samples: the interval is for resamples of them, and does not cover samples that the network never saw.
    """
    unknown: Array = np.tile([-np.inf, np.inf], (len(columns) + 1, 1))
    if len(gradients) < MIN_RESAMPLED:
        return unknown
    generator = np.random.default_rng(resampling.seed)
    # once for all resamples: only their weights differ
    squares = np.concatenate([_part_squares(block, columns) for _, block in gradients.blocks()])
    # what the members do not tell of the sum over the set
    rest: Array | None = None
    if gradients.total is not None:
        rest = gradients.total / gradients.largest - gradients.told()
        # rounding of the largest gradients is larger than all of the smallest
        if np.linalg.norm(rest) <= SKETCH_ROUNDING * float(gradients.weights @ np.sqrt(squares[:, -1])):
            rest = np.zeros_like(rest)
    # the first row is the set itself: the point value by sketches, which the ends are relative to
    values = [_resampled(_whole(gradients), gradients, squares, columns, rest)]
    for start in range(0, resampling.resamples, RESAMPLES_PER_BATCH):
        size = min(RESAMPLES_PER_BATCH, resampling.resamples - start)
        values.append(_resampled(_resample(gradients, size, generator), gradients, squares, columns, rest))
    return _deviations(np.concatenate(values), resampling.confidence, unknown)


def _resampled(
    drawn: _Resample, gradients: Gradients, squares: Array, columns: Sequence[slice], rest: Array | None
) -> Array:
    """Return α_u* of each part and of the whole, [resamples, parts + 1]."""
    products: list[NDArray[Any]] = [drawn.times[:, rows] @ block for rows, block in gradients.blocks()]
    together: NDArray[Any] = np.sum(products, axis=0)
    if rest is not None:
        together = together + rest
    m = drawn.samples
    # 0 / 0 for a part without gradient, and for a resample of one sample; `_deviations` handles both
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = _part_squares(together, columns) - drawn.repeated @ squares
        pairs /= (m**2 - drawn.own_pairs)[:, None]
        values: Array = pairs / (drawn.times.astype(np.float64) @ squares / m[:, None])
    return values


def _deviations(values: Array, confidence: float, unknown: Array) -> Array:
    """Return the interval's ends relative to the point value, which is the first row of `values`."""
    tail = (1 - confidence) / 2
    finite = np.isfinite(values)
    known = finite[0] & finite[1:].any(0)
    # a resample of a single sample, or of gradients that are all zero, has no coherence: leave it out
    values = np.where(finite, values, np.where(known, values[0], 0))
    ends: Array = np.quantile(values[1:], [tail, 1 - tail], axis=0) - values[0]
    return np.where(known[:, None], ends.T, unknown)


def _part_squares(rows: NDArray[Any], columns: Sequence[slice]) -> Array:
    """Return the squared norm of each row's parts, then of the whole row, [rows, parts + 1]."""
    # accumulated in float64: the pairs are a small difference of two large sums
    parts = [np.einsum("ij,ij->i", rows[:, part], rows[:, part], dtype=np.float64) for part in columns]
    whole = np.sum(parts, axis=0) if parts else np.zeros(len(rows))
    return np.stack([*parts, whole], 1)
