"""Coherence of per-sample gradients: point values from exact sums, intervals from resampled sketches.

Definitions (Chatterjee & Zielinski, arXiv 2203.10036): for m gradients g_i with mean μ,
α = ‖μ‖² / mean‖g_i‖², m-coherence = m·α, and without each sample's own share
α_u = (‖Σg_i‖² − Σ‖g_i‖²) / ((m − 1) Σ‖g_i‖²). At fixed m, each increases with each other one.

Arrays: N samples, L layers, C classes. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Coherence, Estimate, Skipped

Array = NDArray[np.float64]
Sketches = NDArray[np.float32]

SKETCHES_PER_BLOCK = 4096
"""Sketches in memory at once, if they are in a file: 4,096 rows are a few MB, enough for fast products."""

RESAMPLES_PER_BATCH = 25
"""Resamples drawn at once: each takes one weight per sample in memory."""

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
    value = pairwise_coherence(square_of_sum, sum_of_squares, samples)
    # −1 / (m − 1) is reached if the gradients sum to zero, 1 if all are equal
    low, high = np.clip(value + deviations, -1 / (samples - 1), 1)
    # a bootstrap interval can miss its own point value: it is widened to contain it
    pairwise = Estimate(value, float(min(low, value)), float(max(high, value)))
    m_coherence = _map(pairwise, 1, samples - 1)
    return Coherence(samples, _map(m_coherence, 0, 1 / samples), m_coherence, pairwise)


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

    Attributes:
        sketches: Sketched gradients of the residuals scaled to length 1, [N, columns]; possibly in a file.
        scale: Length of each residual, [N].
        members: Indices of the samples, [m].
    """

    sketches: Sketches
    scale: Array
    members: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.members)

    def blocks(self) -> Iterator[tuple[slice, Sketches]]:
        """Yield the scaled sketches, some samples at a time, with their positions among the members."""
        largest = self.scale[self.members].max(initial=0)
        for start in range(0, len(self.members), SKETCHES_PER_BLOCK):
            own = self.members[start : start + SKETCHES_PER_BLOCK]
            # relative to the largest: gradients of well fitted samples are so small that float32 squares
            # vanish
            relative = (self.scale[own] / (largest or 1)).astype(np.float32)
            yield slice(start, start + len(own)), np.asarray(self.sketches[own]) * relative[:, None]


def interval_deviations(gradients: Gradients, columns: Sequence[slice], resampling: Resampling) -> Array:
    """Return the bootstrap interval of α_u on several parts of the gradient, relative to the point value.

    A resample draws m samples with replacement, sample i w_i times. Pairs of a sample with its own copies
    would count as perfect agreement and are left out:
    α_u* = (‖Σ w_i g_i‖² − Σ w_i² ‖g_i‖²) / (m² − Σ w_i²) / mean(w_i ‖g_i‖²).

    Args:
        gradients: Sketched gradients of m samples.
        columns: Columns of each part of the sketch.
        resampling: Resamples, confidence and seed.

    Returns:
        Lower and upper deviation of each part, then of the whole gradient, [parts + 1, 2]. ±∞ if m is below
        `MIN_RESAMPLED`, or if a part has no gradient. The weights of the network depend on these samples:
        the interval is for resamples of them, and does not cover samples that the network never saw.
    """
    m = len(gradients)
    unknown: Array = np.tile([-np.inf, np.inf], (len(columns) + 1, 1))
    if m < MIN_RESAMPLED:
        return unknown
    generator = np.random.default_rng(resampling.seed)
    # once for all resamples: only their weights differ
    squares = np.concatenate([_part_squares(block, columns) for _, block in gradients.blocks()])
    # the first row weighs every sample once: the point value by sketches, which the ends are relative to
    values = [_resampled(np.ones((1, m), np.float32), gradients, squares, columns)]
    for start in range(0, resampling.resamples, RESAMPLES_PER_BATCH):
        size = min(RESAMPLES_PER_BATCH, resampling.resamples - start)
        # counts are small integers, exact in float32, and the products then run in float32
        weights = generator.multinomial(m, np.full(m, 1 / m), size=size).astype(np.float32)
        values.append(_resampled(weights, gradients, squares, columns))
    return _deviations(np.concatenate(values), resampling.confidence, unknown)


def _resampled(weights: Sketches, gradients: Gradients, squares: Array, columns: Sequence[slice]) -> Array:
    """Return α_u* of each part and of the whole, [resamples, parts + 1], from weights [resamples, m]."""
    m = len(gradients)
    together = sum(weights[:, rows] @ block for rows, block in gradients.blocks())
    repeated = np.square(weights).astype(np.float64)
    # 0 / 0 for a part without gradient, and for a resample of one sample; `_deviations` handles both
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = _part_squares(np.asarray(together), columns) - repeated @ squares
        pairs /= (m**2 - repeated.sum(1))[:, None]
        values: Array = pairs / (weights.astype(np.float64) @ squares / m)
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


def _part_squares(rows: NDArray[np.float32], columns: Sequence[slice]) -> Array:
    """Return the squared norm of each row's parts, then of the whole row, [rows, parts + 1]."""
    # accumulated in float64: the pairs are a small difference of two large sums
    parts = [np.einsum("ij,ij->i", rows[:, part], rows[:, part], dtype=np.float64) for part in columns]
    whole = np.sum(parts, axis=0) if parts else np.zeros(len(rows))
    return np.stack([*parts, whole], 1)
